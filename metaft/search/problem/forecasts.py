"""What hypergradients will take, by every way to them, from the bytes of one step's graph."""

from __future__ import annotations

from dataclasses import replace

from metaft.config.schema import HypergradConfig, StepConfig
from metaft.errors import Fault
from metaft.inner.loop import Footprint, Loop
from metaft.inner.registry import ESTIMATORS, refusals
from metaft.inner.storage import GIB, SHARE, footprint_of, free_memory, planned
from metaft.ranks import out_of_own_memory
from metaft.search.bilevel import Forecast

WAYS = (  # estimators and what they keep, the fastest first
    *(("unroll", storage) for storage in ("keep", "replay", "segments")),
    *(("differences", storage) for storage in ("replay", "segments")),
)
BESIDE_TANGENTS = 6  # states: the start, a step's start and end, a tangent before and after it, AdamW's own


class Forecasts:
    """What a hypergradient of a loop will take; graphs are measured once.

    Args:
        settings: the way that is taken.
        step_share, outer_share: the step equivalents of a step, and of the outer loss.
        inner: how a step is computed.
    """

    def __init__(
        self, loop: Loop, settings: HypergradConfig, step_share: float, outer_share: float, inner: StepConfig
    ) -> None:
        self.loop, self._settings, self._inner = loop, settings, inner
        self._step_share, self._outer_share = step_share, outer_share
        self._measured: dict[bool, Footprint] = {}

    def footprint(self, graphs: bool) -> Footprint:
        """The bytes of the loop's parts; `graphs` as for `footprint_of`."""
        if graphs not in self._measured:
            self._measured[graphs] = footprint_of(self.loop, graphs=graphs)
        return self._measured[graphs]

    def of(self, **way: str) -> Forecast:
        """The forecast by the estimator and storage of the settings, or by others."""
        settings = self._settings.model_copy(update=way)
        estimator = ESTIMATORS[settings.estimator].make(settings).picked(self.loop)
        footprint = self.footprint(estimator.graphs)
        loop = replace(self.loop, footprint=footprint)
        cost, name = estimator.cost(loop) * self._step_share + self._outer_share, estimator.described(loop)
        swept = estimator.swept(loop)
        if swept is None:  # a tangent for each number that is differentiated by, and what one step with one takes
            count = BESIDE_TANGENTS + sum(x.numel() for x in loop.h.values())
            at_the_end = (count - BESIDE_TANGENTS + 2) * footprint.state + footprint.outer
            return Forecast(cost, max(count * footprint.state + footprint.graph, at_the_end), 0, name)
        plan = planned(swept, settings, graphs=estimator.graphs)
        return Forecast(cost, plan.peak(footprint, len(swept.batches)), plan.graphs, name)

    def ways(self) -> dict[tuple[str, str], Forecast]:
        """The forecast by each of `WAYS` that can be taken."""
        able = [way for way in WAYS if not refusals(*way, self.loop.h, self._inner)]
        return {(estimator, storage): self.of(estimator=estimator, storage=storage) for estimator, storage in able}

    @property
    def room(self) -> float:
        """The bytes that are free."""
        return free_memory(self.loop.state.tensors[0].device) / SHARE

    @property
    def beyond_memory(self) -> bool:
        """Whether `auto`, left to itself, would have to take more than its share of what is free.

        Where memory runs out as that is measured, whoever runs the loop will find out.
        """
        if self._settings.storage != "auto" or self._settings.memory is not None:
            return False
        try:
            return self.of().bytes > SHARE * self.room
        except Exception as error:
            if not out_of_own_memory(error):
                raise
            return False

    def faults(self) -> list[Fault]:
        """Faults of a storage that asks for more memory than is free, with the ways that would do; none for `auto`."""
        storage, room = self._settings.storage, self.room
        if storage == "auto" or (asked := self.of().bytes) <= room:
            return []
        fit = [
            f"{kept} with hypergrad.estimator={estimator} ({forecast.bytes / GIB:.1f} GiB)"
            for (estimator, kept), forecast in self.ways().items()
            if forecast.bytes <= room
        ]
        found = f"{storage!r}, which takes {asked / GIB:.1f} GiB beside the model, of {room / GIB:.1f} free"
        return [Fault("hypergrad.storage", found, ", ".join([*fit, "auto, which cuts batches"]))]
