"""The estimator that is cheapest within memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from metaft.config.schema import HypergradConfig
from metaft.errors import ConfigError
from metaft.inner.differences import Differences
from metaft.inner.loop import Estimator, Gradients, HalvedStep, Loop, Trace
from metaft.inner.unroll import Unroll

GOOD = 0.02  # the largest relative error of differences that are taken instead of the exact derivative


@dataclass(frozen=True)
class Auto(Estimator):
    """`Unroll` where it costs no more, as where the graphs of all steps fit into memory; `Differences` else.

    Differences are taken only where the error that they are found to have is small, and the step has two halves.
    """

    settings: HypergradConfig = field(default_factory=HypergradConfig)

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and its derivative, by the estimator that is picked."""
        return self.settled(loop)(loop, trace)

    def picked(self, loop: Loop) -> Unroll | Differences:
        """The cheaper of the two, of equals the exact one."""
        differences = Differences.of(self.settings)
        if not isinstance(loop.step, HalvedStep) or self._exact.cost(loop) <= differences.cost(loop):
            return self._exact
        return differences

    def settled(self, loop: Loop) -> Unroll | Differences:
        """The same, unless differences turn out to have a large error there."""
        picked = self.picked(loop)
        if isinstance(picked, Unroll):
            return picked
        try:
            settled = picked.settled(loop)
        except ConfigError:
            return self._exact
        return settled if settled.error is None or settled.error <= GOOD else self._exact

    def described(self, loop: Loop) -> str:
        """What is picked, and what of its error is still to be found."""
        picked = self.picked(loop)
        return str(picked) if isinstance(picked, Unroll) else f"{picked} (unroll where their error is above {GOOD:.0%})"

    def cost(self, loop: Loop) -> float:
        """That of the estimator that is picked."""
        return self.picked(loop).cost(loop)

    @property
    def _exact(self) -> Unroll:
        return Unroll.of(self.settings)
