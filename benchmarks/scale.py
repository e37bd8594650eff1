"""What a fine-tune costs at full size beside a bare loop of PyTorch, and a hypergradient beside plain steps.

    python benchmarks/scale.py [--device cpu] [--models toy-clip ViT-B-32 ViT-B-16 ViT-L-14]
        [--precisions float32 bfloat16] [--kinds step ...] [--repeats 5] [--quick] [--out FILE]

Rows of five kinds (`what`), each for a model and a precision; `ratio` is always ours over the other's:

- `step`: seconds of a step of plain fine-tuning and of a bare loop on the same batches; the medians of steps of runs
  that take turns. `share` is that of the machine's rate of matrix products in the same precision, measured in the same
  process, that ours comes to, AdamW, loading and all else included.
- `memory`: MiB at the peak above what is loaded before, in processes of their own: `ours`, with checks that are kept in
  files; `bare`, on a copy, so that theta_0 is left as it is by ours; `in_place`, on theta_0 itself. `loaded` is what is
  there before, and `process` is the peak of our process, all included, over that of the bare one in place. And `disk`:
  MiB of files after a check, and their share of weights and moments of what trains.
- `check`: the seconds that one takes beyond its evaluation, also in steps.
- `ranks` (CPU, toy and ViT-B/32): images a second of a step that 1, 2 and 4 ranks take together, one thread each, and
  the ratio of two to one; more ranks than cores share these.
- `hypergradient`: seconds of one over T steps of all terms, exact and by differences on one side, and of T plain steps,
  in turns. Models other than the toy are random here, with random images. Where not even its states fit into memory,
  what these take, and what is free.

--quick: the toy alone, in the first precision, few steps, one repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from shared.innerloop import TOY, Cell, Setting
from shared.memory import peak_resident
from shared.ranked import step_on_ranks
from shared.rows import Row, Rows, arguments
from shared.training import bare, flops, in_turns, matmul_rate, ours, workspace
from shared.workers import in_workers

from metaft.build.workspace import Workspace
from metaft.checkpoints import Checkpoints
from metaft.clip.classifier import picked_parameters
from metaft.config.schema import HypergradConfig
from metaft.inner import Differences, Footprint, Unroll
from metaft.inner.storage import GIB, SHARE, Plan, free_memory

KEYS = ("what", "model", "precision", "batch")
KINDS = ("memory", "check", "step", "hypergradient", "ranks")
BATCH = {"toy-clip": 64, "ViT-B-32": 16, "ViT-B-16": 8, "ViT-L-14": 4}  # on a CPU
BATCH_ON_GPU = {"toy-clip": 64, "ViT-B-32": 128, "ViT-B-16": 128, "ViT-L-14": 64}
# The batch of several ranks, beside the usual one, in which the exchange takes as long as what it saves, and its steps.
LARGE = {"toy-clip": (512, 24), "ViT-B-32": (96, 3)}
STEPS = 4  # of a run
STEPS_OF_TOY = 60
SPACING = {"float32": 1e-3, "bfloat16": 0.02}  # of differences, whose errors on random images say nothing


class Watched(Checkpoints):
    """Files of states, with the seconds and the bytes of each check."""

    def __init__(self, folder: Path, work: Workspace) -> None:
        super().__init__(folder, work.classifier)
        self.folder, self.seconds, self.bytes = folder, [0.0], list[int]()

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write a state; that of the training ends a check, and the best parameters, if they are new, begin it."""
        start = time.perf_counter()
        super().save(name, state)
        self.seconds[-1] += time.perf_counter() - start
        if "training" in state:
            self.bytes.append(sum(file.stat().st_size for file in self.folder.iterdir()))
            self.seconds.append(0.0)


def opened(model: str, precision: str, device: str) -> Workspace:
    return workspace(model, device, f"finetune.precision={precision}")


def step(model: str, precision: str, batch: int, steps: int, repeats: int, device: str) -> Row:
    work = opened(model, precision, device)
    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(1 + repeats):
        for name, loop in (("ours", ours), ("bare", bare)):
            found = loop(work, work.splits.id_train, batch, steps)
            taken[name] += found if number else []  # a first round is slow
    own, theirs = (median(taken[name]) for name in ("ours", "bare"))
    share = flops(work, work.splits.id_train, batch) / own / matmul_rate(precision, device)
    figures = {"repeats": repeats, "seconds": round(own, 5), "bare": round(theirs, 5), "ratio": round(own / theirs, 3)}
    return {**figures, "images_per_second": round(batch / own, 1), "share": round(share, 3)}


def memory(model: str, precision: str, batch: int, device: str) -> Row:
    jobs = [(_peak, model, precision, batch, who, device) for who in ("ours", "bare", "in_place")]
    found = {job[-2]: next(in_workers([job], 1)) for job in jobs}
    (loaded, own, disk), (_, in_place, _) = found["ours"], found["in_place"]
    beside = {who: peak - before for who, (before, peak, _) in found.items()}
    mib = {name: round(size / 2**20, 1) for name, size in {**beside, "loaded": loaded, "disk": disk}.items()}
    ratios = {"ratio": beside["ours"] / beside["bare"], "process": own / in_place}
    share = disk / _least(opened(model, precision, device))
    return {**mib, **{name: round(x, 3) for name, x in {**ratios, "disk_share": share}.items()}}


def _least(work: Workspace) -> int:
    """Bytes of weights and moments of what trains."""
    trained = picked_parameters(work.classifier, work.trained(text=False)).values()
    return 3 * sum(p.numel() * p.element_size() for p in trained)


def _peak(model: str, precision: str, batch: int, who: str, device: str) -> tuple[int, int, int]:
    """Bytes before and at the peak of four steps, and on disk after the first of two checks, none of which is bare."""
    work = opened(model, precision, device)
    with TemporaryDirectory() as folder:
        keeper = Watched(Path(folder), work)
        loops: dict[str, Callable[..., object]] = {
            "ours": partial(ours, checks=2, keeper=keeper),
            "bare": bare,
            "in_place": partial(bare, in_place=True),
        }
        before, peak = peak_resident(lambda: loops[who](work, work.splits.id_train, batch, 4), device)
    return before, peak, next(iter(keeper.bytes), 0)


def check(model: str, precision: str, batch: int, steps: int, device: str) -> Row:
    work = opened(model, precision, device)
    with TemporaryDirectory() as folder:
        keeper = Watched(Path(folder), work)
        taken = ours(work, work.splits.id_train, batch, 2 * steps, checks=2, keeper=keeper)
    return {"seconds": round(keeper.seconds[0], 3), "steps": round(keeper.seconds[0] / median(taken), 2)}


def ranked(model: str, precision: str, batch: int, steps: int, counts: tuple[int, ...]) -> Row:
    rates = {n: batch / step_on_ranks(n, (model, precision, batch, steps)) for n in counts}
    return {
        "images_per_second": {str(n): round(r, 1) for n, r in rates.items()},
        "ratio": round(rates[2] / rates[1], 2),
    }


def hypergradient(model: str, precision: str, batch: int, length: int, repeats: int, device: str) -> Row:
    setting = Setting(Cell(TOY if model == "toy-clip" else model, batch, length, dtype=precision), 0, device)
    p = setting.count * 4
    least = Plan(0, length).peak(Footprint(3 * p, graph=0, outer=0, params=p), length)
    free = free_memory(torch.device(device)) / SHARE
    if least > free:
        return {"T": length, "least_gib": round(least / GIB, 1), "free_gib": round(free / GIB, 1)}
    exact, one_sided = Unroll(HypergradConfig()), Differences("one", SPACING[precision], HypergradConfig())
    loop, of_halves = setting.loop, setting.footprint_of_halves  # measured once, as a search does
    calls = {
        "seconds": lambda: exact(replace(loop, footprint=setting.footprint)),
        "one_sided": lambda: one_sided(replace(loop, footprint=of_halves)),
    }
    found = {
        name: median(taken) for name, taken in in_turns({**calls, "plain": setting.plain}, repeats, device).items()
    }
    ratios = {"ratio": found["seconds"] / found["plain"], "one_sided_ratio": found["one_sided"] / found["plain"]}
    figures = {name: round(x, 4) for name, x in found.items()} | {name: round(x, 2) for name, x in ratios.items()}
    return {"T": length, "repeats": repeats, **figures}


def main() -> None:
    lists = {"models": tuple(BATCH), "precisions": ("float32", "bfloat16"), "kinds": dict.fromkeys(KINDS)}
    args = arguments("scale", __doc__, seeds=(0,), repeats=5, **lists)
    rows = Rows("scale", args, KEYS)
    models, repeats = (["toy-clip"], 1) if args.quick else (args.models, args.repeats)
    on_cpu = args.device == "cpu"
    precisions = args.precisions[:1] if args.quick else args.precisions
    for model in models:
        toy, batch = model == "toy-clip", (BATCH if on_cpu else BATCH_ON_GPU).get(model, 16)
        steps = STEPS_OF_TOY if toy and not args.quick else STEPS
        length = 2 if args.quick or (on_cpu and not toy) else 10 if toy else 20
        for precision in precisions:
            each: dict[str, Callable[[], Row]] = {
                "memory": partial(memory, model, precision, batch, args.device),
                "check": partial(check, model, precision, batch, steps, args.device),
                "step": partial(step, model, precision, batch, steps, repeats, args.device),
                "hypergradient": partial(hypergradient, model, precision, batch, length, repeats, args.device),
            }
            if model in LARGE and on_cpu:
                each["ranks"] = partial(ranked, model, precision, batch, steps, (1, 2) if args.quick else (1, 2, 4))
            cells = [(what, batch, measured) for what, measured in each.items()]
            if model in LARGE and on_cpu and not args.quick:
                large, few = LARGE[model]
                cells.append(("ranks", large, partial(ranked, model, precision, large, few, (1, 2))))
            for what, size, measured in cells:
                cell = {"what": what, "model": model, "precision": precision, "batch": size}
                if what in args.kinds and cell not in rows:
                    rows.add({**cell, **measured()})


if __name__ == "__main__":
    main()
