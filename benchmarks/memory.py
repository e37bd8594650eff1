"""Whether the peak memory that a dry run forecasts is that of the run.

    python benchmarks/memory.py [--device cpu] [--seeds 0] [--quick] [--out FILE]

Whole processes on small splits of digits: a search through two steps, `ft` and `autoft`, with the toy CLIP and a
ViT-B/32 as open_clip initialises it (126 million parameters with the text tower). A row is a model and a mode;
`forecast` is the dry run's peak of the whole run and `taken` the peak of the run's process, in MiB.
"""

from __future__ import annotations

import re
import sys
from itertools import product
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

from shared.rows import Rows, arguments

KEYS = ("model", "mode", "seed")
MODELS = {"toy-clip": (), "ViT-B-32": ("model.pretrained=random", "inner.batch_size=4", "finetune.batch_size=4")}
SIZES = ("data.options.id_train=16", "data.options.id_val=20", "data.options.ood_val=40", "data.options.test=20")
SMALL = (
    *SIZES,
    *("inner.steps=2", "search.trials=8", "search.seconds=null", "finetune.epochs=1", "evaluation.bootstrap=100"),
)
METHODS = "evaluation.methods=[zero_shot, ft, autoft]"
CHILD = "import resource, sys; from metaft.run import main; code = main(sys.argv[1:]); "
CHILD += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"


def main() -> None:
    args = arguments("memory", __doc__, seeds=(0,))
    rows = Rows("memory", args, KEYS)
    models, modes = (["toy-clip"], ["tpe"]) if args.quick else (list(MODELS), ["tpe", "hypergrad"])
    for seed, model, mode in product(args.seeds, models, modes):
        cell = {"model": model, "mode": mode, "seed": seed}
        if cell in rows:
            continue
        words = ["--mode", mode, *SMALL, METHODS, f"model.name={model}", *MODELS[model], f"seed={seed}"]
        words.append(f"device={args.device}")
        forecast = number(r"the whole run +\| +([\d,]+) MiB", said([*words, "--dry-run"]))
        with TemporaryDirectory() as folder:
            taken = number(r"peak (\d+)", said([*words, "--out", str(Path(folder) / "run")])) / 1024
        rows.add({**cell, "forecast": forecast, "taken": round(taken), "ratio": round(forecast / taken, 3)})


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
