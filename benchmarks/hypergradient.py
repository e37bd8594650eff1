"""What a hypergradient costs: seconds, memory and error of every estimator and storage, beside plain AdamW.

    python benchmarks/hypergradient.py [--device cpu] [--models toy vit-128 vit-128x12] [--seeds 0 1 2]
        [--repeats 3] [--quick] [--out FILE]

A row is one estimator with one storage on one inner loop: its seconds (median over repeats; all ways of a loop and the
plain run take turns, as a shared host slows for minutes), the median ratio to the plain run of the same turn
(torch.optim.AdamW on the same loss and batches, its default attention), peak bytes beside the model, growth of the peak
with one more inner step in units of P (the trained parameters' bytes), the largest T that a GPU's free memory would
hold, and the error against float64 of the derivative in the unit cube. Turns repeat `--repeats` times, and short ones
for 20 seconds a way; once where that is 1. All terms are active, at the recipe. Peers (shared/peers.py) have the same
loop: `stock higher` with its own Adam, whose weight decay is part of the gradient; `torchopt`, which does not
differentiate weight decay; `recomputed` (hypertorch's way); betty's estimates of the loss weights alone, at its
defaults. `toy` is the embedded default with its digits: exact ways and differences at batch 32, 128 and 256, with and
without hyperparameters for each group of parameters, all ways at batch 64; `vit-128` (4 layers, 32 px), `vit-128x12`
and the models of open_clip are random, on random images, with the first seed alone. What an estimate does not give
counts as 0 in its error. With groups, the same loop without has its turns, too.
`differences` takes the spacing that it finds once, which is not in its seconds; on random images, where no error is
measured, that is 1e-3 (0.02 in bfloat16). Where the model is compiled, `first_seconds` are those of the first
hypergradient, at 1e-3: the compiler's, where no row before has the same sizes.
--quick: toy at batch 32, T = 2, in some of these ways.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from shared.clock import seconds
from shared.innerloop import LAYERS, TOY, Cell, Result, Setting
from shared.memory import peak_bytes
from shared.peers import PEERS
from shared.resident import give_back
from shared.rows import Rows, arguments
from shared.workers import pool
from torch import Tensor

from metaft.config.schema import HypergradConfig
from metaft.inner import ESTIMATORS, Differences, Estimator, Loop
from metaft.inner.storage import GIB, SHARE, Plan, free_memory
from metaft.search.problem.rollout import BilledStep

SPELL = 20.0  # seconds that the repeats of a cell take at least, for each of its ways


@dataclass(frozen=True)
class Way:
    """One way to a hypergradient; `share` is where a budget of `auto` lies between replay's peak and keep's."""

    estimator: str
    storage: str
    share: float | None = None
    offload: bool = False
    sides: str = "both"
    checkpointing: bool = False
    compile: bool = False
    spacing: float | None = None

    @property
    def name(self) -> str:
        """The storage with its options."""
        options = {
            "offloaded": self.offload,
            "one side": self.sides == "one",
            "blocks again": self.checkpointing,
            "compiled": self.compile,
        }
        return ", ".join([self.storage, *(word for word, on in options.items() if on)])


FORWARD = Way("forward", "keep")
EXACT = (Way("unroll", "keep"), Way("unroll", "replay"))
SEGMENTS = Way("unroll", "segments")
REPLAYED = Way("differences", "replay")
DIFFERENCES = (Way("differences", "auto"), Way("differences", "auto", sides="one"), REPLAYED)
AGAIN = Way("differences", "replay", checkpointing=True)
COMPILED = (Way("differences", "auto", compile=True), Way("differences", "auto", sides="one", compile=True))
WAYS = (
    *EXACT,
    *DIFFERENCES,
    Way("unroll", "auto", share=0.5),
    SEGMENTS,
    Way("truncated", "replay"),
    Way("one_step", "replay"),
    Way("implicit", "keep"),
)
OF_PEERS = tuple(Way(name, peer.storage) for name, peer in PEERS.items() if peer.installed)


def estimate(setting: Setting, way: Way, budget: float | None = None) -> Result:
    """A hypergradient by one way."""
    if way.estimator in PEERS:
        return PEERS[way.estimator].estimate(setting)
    made = estimator(setting, way, budget)
    footprint = setting.footprint if made.graphs else setting.footprint_of_halves
    return made(replace(served(setting, way), footprint=footprint))


@lru_cache(maxsize=32)
def estimator(setting: Setting, way: Way, budget: float | None) -> Estimator:
    """The estimator of a way, with what a search measures once, unless its spacing is given."""
    memory = None if budget is None else budget / GIB
    settings = HypergradConfig(
        storage=way.storage, memory=memory, offload=way.offload, sides=way.sides, spacing=way.spacing
    )
    made = ESTIMATORS[way.estimator].make(settings)
    return made if way.spacing is not None else made.settled(served(setting, way))


def found(setting: Setting, way: Way, budget: float | None) -> Way:
    """The way with the spacing that it takes."""
    made = None if way.estimator in PEERS else estimator(setting, way, budget)
    return replace(way, spacing=made.spacing) if isinstance(made, Differences) else way


def served(setting: Setting, way: Way) -> Loop:
    """The loop with the hyperparameters that an estimator can differentiate by."""
    refuses = ESTIMATORS[way.estimator].refuses
    if way.checkpointing:
        return setting.loop_of(setting.recomputing)
    if way.compile:
        return setting.loop_of(setting.compiled)
    if not any(map(refuses, setting.h)):
        return setting.loop
    able = {name: x for name, x in setting.h.items() if not refuses(name)}
    return replace(setting.loop, h=able, step=BilledStep(setting.step, setting.h, lambda _: None, products=0))


def reference(cell: Cell, seed: int, device: str) -> Tensor:
    """The derivative in float64."""
    setting = Setting(cell, seed, device, torch.float64)
    return setting.in_cube(estimate(setting, EXACT[1])[1])


@lru_cache(maxsize=2)
def opened(cell: Cell, seed: int, device: str) -> Setting:
    """A cell's setting."""
    return Setting(cell, seed, device)


@cache
def observed(cell: Cell, way: Way, seed: int, device: str, budget: float | None) -> tuple[Tensor, int]:
    """A hypergradient in the unit cube, and its peak bytes beside the model."""
    setting = opened(cell, seed, device)
    if way.estimator not in PEERS:
        estimator(setting, way, budget)
    (_, gradient), peak = peak_bytes(lambda: estimate(setting, way, budget), device)
    give_back()
    return setting.in_cube(gradient), peak


class Tried(NamedTuple):
    """A way as it is timed, with the budget of an `auto`, and the seconds of its first call where that compiles."""

    way: Way
    budget: float | None
    first: float | None

    @classmethod
    def of(cls, cell: Cell, setting: Setting, way: Way, device: str) -> Tried:
        """A way after its first call, which is slow of anything."""
        budget = None if way.share is None else _budget(setting, cell.T, way.share)
        if cell.model != TOY:
            way = replace(way, spacing=1e-3 if cell.dtype == "float32" else 0.02)
        first = seconds(lambda: estimate(setting, replace(way, spacing=1e-3)), device) if way.compile else None
        way = found(setting, way, budget)
        estimate(setting, way, budget)
        return cls(way, budget, first)


def rows_of(
    cell: Cell, ways: Sequence[Way], seed: int, device: str, repeats: int, exact: Tensor | None, apart: Executor
) -> Iterator[dict[str, Any]]:
    """A row for each way, all timed in turn; the growth of memory is that from half the steps.

    Memory is observed in a process apart: what the profiler leaves behind slows every later call. What a process does
    not need it gives back, as there may be no room for two that are large.
    """
    setting = opened(cell, seed, device)
    few = opened(replace(cell, grouped=False), seed, device) if cell.grouped else None
    tried = [Tried.of(cell, setting, way, device) for way in ways]
    calls = [partial(estimate, of, way, budget) for way, budget, _ in tried for of in (setting, few) if of is not None]
    plain, *times = in_turn([setting.plain, *calls], repeats, SPELL * len(tried), device)
    give_back()
    each = len(times) // len(tried)
    for (way, budget, first), (taken, *rest) in zip(tried, batched(times, each), strict=True):
        gradient, peak = apart.submit(observed, cell, way, seed, device, budget).result()
        _, peak_of_half = apart.submit(observed, replace(cell, T=cell.T // 2), way, seed, device, budget).result()
        bytes_of_p = setting.count * next(setting.classifier.parameters()).element_size()
        growth = (peak - peak_of_half) / (cell.T - cell.T // 2)
        yield {
            **_key(cell, way, seed),
            "params": setting.count,
            "K": len(setting.graph),
            "repeats": len(plain),
            "seconds": round(median(taken), 3),
            "plain_seconds": round(median(plain), 3),
            "first_seconds": None if first is None else round(first, 1),
            "ratio": ratio(taken, plain),
            "ratio_to_K_11": ratio(taken, rest[0]) if rest else None,
            "peak_bytes": peak,
            "budget_bytes": budget,
            "slope_P": round(growth / bytes_of_p, 2),
            "largest_T": _largest(cell.T, peak, growth, device),
            "rel_error": None if exact is None else float((gradient - exact).norm() / exact.norm()),
            "cosine": None if exact is None else float(F.cosine_similarity(gradient, exact, dim=0)),
        }


def in_turn(calls: Sequence[Callable[[], object]], repeats: int, least: float, device: str) -> list[list[float]]:
    """Seconds of each call, one after the other: so many repeats, and more until all have taken so many seconds."""
    times: list[list[float]] = []
    while len(times) < repeats or (repeats > 1 and sum(map(sum, times)) < least):
        times.append([seconds(call, device) for call in calls])
    return [list(column) for column in zip(*times, strict=True)]


def batched(items: Sequence[list[float]], size: int) -> Iterator[Sequence[list[float]]]:
    """Items in groups of a size."""
    return (items[i : i + size] for i in range(0, len(items), size))


def ratio(of: list[float], to: list[float]) -> float:
    """The median ratio of runs side by side: what slows a machine for a while slows both."""
    return round(median(x / y for x, y in zip(of, to, strict=True)), 3)


def _largest(steps: int, peak: int, growth: float, device: str) -> int | None:
    """The largest T that a GPU's free memory would hold at this growth."""
    if not device.startswith("cuda") or growth <= 0:
        return None
    return int(steps + (free_memory(torch.device(device)) / SHARE - peak) / growth)


def _key(cell: Cell, way: Way, seed: int) -> dict[str, Any]:
    return {**asdict(cell), "estimator": way.estimator, "storage": way.name, "seed": seed}


def _budget(setting: Setting, steps: int, share: float) -> float:
    """A budget between what replay and keep are estimated to need."""
    low, high = (Plan(graphs, steps).peak(setting.footprint, steps) for graphs in (0, steps))
    return low + share * (high - low)


def cells(args: Any) -> Iterator[tuple[Cell, int, tuple[Way, ...]]]:
    """What is measured: inner loops, seeds, ways."""
    first = args.seeds[0]
    if args.quick:
        yield Cell(TOY, 32, 2), first, (*EXACT[:1], *DIFFERENCES[:2], *OF_PEERS[:2])
        return
    for model in args.models:
        if model == TOY:
            yield from _toy(args.seeds)
        elif model == "vit-128":
            yield Cell(model, 256, 10), first, (*WAYS, *COMPILED, *OF_PEERS)
            ways = (EXACT[1], SEGMENTS, REPLAYED)
            yield from ((Cell(model, 32, steps), first, ways) for steps in (16, 64))
        elif model == "vit-128x12":
            yield Cell(model, 64, 10, grouped=True), first, (EXACT[0], DIFFERENCES[0])
            yield Cell(model, 64, 10), first, (REPLAYED, AGAIN)
        else:
            yield from _large(model, first, on_gpu=args.device.startswith("cuda"))


def _toy(seeds: Sequence[int]) -> Iterator[tuple[Cell, int, tuple[Way, ...]]]:
    """The embedded default: its batch, smaller and larger ones, hyperparameters by group, bfloat16."""
    compared, first = (*EXACT, *DIFFERENCES), seeds[0]
    for seed in seeds:
        yield Cell(TOY, 32, 10), seed, (*compared, *COMPILED, *(OF_PEERS if seed == first else ()))
        yield Cell(TOY, 32, 10, grouped=True), seed, (*EXACT[:1], *DIFFERENCES)
    yield Cell(TOY, 128, 10), first, (*compared, *COMPILED)
    yield Cell(TOY, 256, 10), first, (*compared, *COMPILED, *OF_PEERS)
    for seed in seeds:
        yield Cell(TOY, 64, 10), seed, (*WAYS, FORWARD) if seed == first else (*EXACT[:1], FORWARD)
        yield Cell(TOY, 64, 10, dtype="bfloat16"), seed, EXACT[:1]  # differences are refused, so far off are they there


def _large(model: str, seed: int, on_gpu: bool) -> Iterator[tuple[Cell, int, tuple[Way, ...]]]:
    """A model of open_clip; on a CPU a small loop of it."""
    if not on_gpu:
        yield Cell(model, 16, 2), seed, (*EXACT, *DIFFERENCES, AGAIN)
        yield Cell(model, 16, 10), seed, (REPLAYED,)
        return
    yield Cell(model, 128, 20), seed, (*EXACT, *DIFFERENCES, AGAIN, SEGMENTS, Way("unroll", "replay", offload=True))
    yield Cell(model, 128, 20, dtype="bfloat16"), seed, (*EXACT, *DIFFERENCES)
    yield Cell(model, 128, 200), seed, (SEGMENTS, Way("differences", "segments"))


def measure(args: Namespace) -> None:
    """Add the rows that are missing."""
    rows = Rows("hypergradient", args, ("model", "batch", "T", "grouped", "dtype", "estimator", "storage", "seed"))
    repeats = 1 if args.quick else args.repeats
    with pool(1) as apart:
        for cell, seed, ways in cells(args):
            missing = [way for way in ways if _key(cell, way, seed) not in rows]
            exact = reference(cell, seed, args.device) if missing and cell.model == TOY and not args.quick else None
            if missing:
                for row in rows_of(cell, missing, seed, args.device, repeats, exact, apart):
                    rows.add(row)


def main() -> None:
    args = arguments("hypergradient", __doc__, seeds=(0, 1, 2), models=(TOY, *LAYERS), repeats=3)
    with TemporaryDirectory() as compiled:  # so that what is compiled is compiled here
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled
        measure(args)


if __name__ == "__main__":
    main()
