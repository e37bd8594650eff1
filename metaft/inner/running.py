"""Inner steps over modules that are given their parameters, without a patched model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from metaft.clip.classifier import Classifier, Outputs
from metaft.clip.running import Running
from metaft.config.schema import ComputeConfig, StepConfig
from metaft.inner.step import Step


class RunningStep(Step):
    """A `Step` on a `Running`, which computes what is inside of a block again for a derivative, or is compiled.

    With `checkpointing` that is done with the parameters that it was given last: a pass has then to be differentiated
    before the next one, as in plain steps and by `Differences`. What is compiled has first derivatives in reverse mode.
    """

    _running: Running
    _begun: Mapping[str, Tensor]  # the head that is begun with, for where it does not train

    def _patched(self, classifier: Classifier, settings: StepConfig) -> nn.Module:
        how = ComputeConfig(checkpointing=settings.checkpointing, compile=settings.compile)
        self._running = self._over(classifier, how)
        head = {name: p for name, p in classifier.named_parameters() if name.startswith("head.")}
        self._begun = self.layout.held(head)
        return self._running.model

    def _over(self, classifier: Classifier, how: ComputeConfig) -> Running:
        """The modules, of which all else are shared."""
        return Running(classifier, how, "inner")

    def begun_at(self, values: Mapping[str, Tensor]) -> Step:
        """The same step from a theta_0 with another head, by name (of none: this one); the model is shared."""
        begun = super().begun_at(values)
        assert isinstance(begun, RunningStep)
        begun._begun = {**self._begun, **self.layout.held(values)}
        return begun

    def _computed(self, params: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        return self._running({**self._begun, **self._live(params)}, images, tokens)
