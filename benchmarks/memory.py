"""Whether the peak memory that is forecast is what is taken.

    python benchmarks/memory.py [--device cpu] [--seeds 0] [--quick] [--out FILE]

Rows of three kinds (`what`), with the toy CLIP and a ViT-B/32 as open_clip initialises it (126 million parameters with
the text tower); `forecast` and `taken` are in MiB:

- `run`: a whole process on small splits of digits: a search through two steps, `ft` and `autoft`; by `way`, the mode.
  `forecast` is the dry run's peak of the whole run and `taken` the peak of the run's process.
- `hypergradient`: one through eight steps of 16 images (ViT-B/32: three of 4), by `way`, estimator and storage;
  `taken` is the most bytes of tensors alive at once, beside those that were before.
- `long` (ViT-B/32): the same through ten steps of 16, by differences in segments, for which 16 GiB were asked.
"""

from __future__ import annotations

import re
import sys
from itertools import product
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

from shared.memory import peak_bytes
from shared.rows import Row, Rows, arguments
from shared.workers import in_workers

from metaft import config, pipeline
from metaft.build.problem import problem_in
from metaft.search.problem.forecasts import WAYS

KEYS = ("what", "model", "way", "seed")
MODELS = {"toy-clip": (), "ViT-B-32": ("model.pretrained=random", "inner.batch_size=4", "finetune.batch_size=4")}
SIZES = ("data.options.id_train=16", "data.options.id_val=20", "data.options.ood_val=40", "data.options.test=20")
SMALL = (
    *SIZES,
    *("inner.steps=2", "search.trials=8", "search.seconds=null", "finetune.epochs=1", "evaluation.bootstrap=100"),
)
LONG = ("inner.steps=10", "inner.batch_size=16")
LOOPS = {"toy-clip": ("inner.steps=8", "inner.batch_size=16"), "ViT-B-32": ("inner.steps=3", "inner.batch_size=4")}
METHODS = "evaluation.methods=[zero_shot, ft, autoft]"
CHILD = "import resource, sys; from metaft.run import main; code = main(sys.argv[1:]); "
CHILD += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"


def main() -> None:
    args = arguments("memory", __doc__, seeds=(0,))
    rows = Rows("memory", args, KEYS)
    models, modes = (["toy-clip"], ["tpe"]) if args.quick else (list(MODELS), ["tpe", "hypergrad"])
    ways = WAYS[:1] if args.quick else WAYS
    for seed, model in product(args.seeds, models):
        words = [f"model.name={model}", *MODELS[model], f"seed={seed}", f"device={args.device}"]
        jobs = {("hypergradient", " ".join(way)): (hypergradient, *way, [*words, *LOOPS[model]]) for way in ways}
        if model != "toy-clip":
            jobs["long", "differences segments"] = (hypergradient, "differences", "segments", [*words, *LONG])
        jobs |= {("run", mode): (whole, mode, words) for mode in modes}
        for (what, way), job in jobs.items():
            cell = {"what": what, "model": model, "way": way, "seed": seed}
            if cell not in rows:
                rows.add({**cell, **in_mib(*next(in_workers([job], 1)))})


def in_mib(forecast: float, taken: float) -> Row:
    return {"forecast": round(forecast / 2**20), "taken": round(taken / 2**20), "ratio": round(forecast / taken, 3)}


def whole(mode: str, words: list[str]) -> tuple[float, float]:
    """Bytes that a dry run forecasts for a run, and those of its process."""
    words = ["--mode", mode, *SMALL, METHODS, *words]
    forecast = number(r"the whole run +\| +([\d,]+) MiB", said([*words, "--dry-run"])) * 2**20
    with TemporaryDirectory() as folder:
        return forecast, number(r"peak (\d+)", said([*words, "--out", str(Path(folder) / "run")])) * 2**10


def hypergradient(estimator: str, storage: str, words: list[str]) -> tuple[float, float]:
    """Bytes that are forecast for a hypergradient, and those that it takes."""
    way = (f"hypergrad.estimator={estimator}", f"hypergrad.storage={storage}", "hypergrad.spacing=1e-3")
    plain = ("search.mode=hypergrad", "search.use_ood_labels=judge", "objective.head=zero_shot")
    sizes = ("data.options.id_train=64", *SIZES[1:], "search.id_drop_max=null")
    cfg = config.load(None, [*sizes, *plain, *way, *words])
    problem = problem_in(pipeline.opened(cfg))
    problem.hypergradient(problem.start, 0)  # which measures and keeps what all others find there
    return problem.forecasts.of().bytes, peak_bytes(lambda: problem.hypergradient(problem.start, 0), cfg.device)[1]


def said(words: list[str]) -> str:
    """What metaft prints, in a process of its own."""
    return run([sys.executable, "-c", CHILD, *words], check=True, capture_output=True, text=True).stdout


def number(pattern: str, text: str) -> float:
    """The number that a pattern finds."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1].replace(",", ""))


if __name__ == "__main__":
    main()
