"""Inner steps over modules that are given their parameters, without a patched model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from metaft.clip.classifier import Classifier, Outputs
from metaft.clip.running import Running
from metaft.config.schema import ComputeConfig, StepConfig
from metaft.inner.step import HEAD, Step


class RunningStep(Step):
    """A `Step` on a `Running`, which computes what is inside of a block again for a derivative, or is compiled.

    With `checkpointing` that is done with the parameters that it was given last: a pass has then to be differentiated
    before the next one, as in plain steps and by `Differences`. What is compiled has first derivatives in reverse mode.
    """

    _running: Running

    def _patched(self, classifier: Classifier, settings: StepConfig) -> nn.Module:
        how = ComputeConfig(checkpointing=settings.checkpointing, compile=settings.compile)
        self._running = self._over(classifier, how)
        return self._running.model

    def _handed(self, classifier: Classifier) -> dict[str, Tensor]:
        """The last layer, with which a step may begin anew; all else is shared with theta_0."""
        return {name: classifier.get_parameter(name) for name in HEAD}

    def _over(self, classifier: Classifier, how: ComputeConfig) -> Running:
        """The modules, of which all else are shared."""
        return Running(classifier, how, "inner")

    def _computed(self, params: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        return self._running({**self._given, **self._live(params)}, images, tokens)
