"""The README's first commands as a newcomer runs them: whole processes, both modes, embedded suites.

    python benchmarks/quickstart.py [--device cpu] [--seeds 0 1 2] [--quick] [--out FILE]

A row is one run: its wall-clock seconds (imports, search, fine-tunes, evaluation and report included), the accuracy of
each method on the ID test and, as a mean over tests, OOD, and the method whose model is handed back. --quick has three
methods, fewer images, and search and training of seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from shared.rows import Rows, arguments
from shared.workers import in_workers

from metaft.report.values import ood_mean

CONFIGS = Path(__file__).parent.parent / "configs"
QUICK = (
    *("inner.steps=2", "search.step_equivalents=60", "search.candidates=1", "search.outer_batch_size=64"),
    *("data.options.id_train=320", "data.options.id_val=100", "data.options.test=100", "finetune.epochs=1"),
    *("evaluation.methods=[zero_shot, ft, autoft]", "evaluation.bootstrap=100"),
)


def run(suite: str, seed: int, mode: str, device: str, quick: bool) -> dict[str, object]:
    """One whole run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "metaft.run", "--mode", mode, "--config", str(CONFIGS / f"{suite}.yaml")]
        command += ["--out", str(out), "--seed", str(seed), "--device", device, "--quiet", *(QUICK if quick else ())]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        results = json.loads((out / "results.json").read_text())
    search = results["search"]
    return {
        "suite": suite,
        "mode": mode,
        "seed": seed,
        "seconds": round(seconds, 1),
        "search_seconds": round(search["seconds"], 1),
        "trials": search["trials"],
        "step_equivalents": round(search["step_equivalents"], 1),
        "handed_back": results["handed_back"]["method"],
        "id_test": {name: m["id_test"]["accuracy"] for name, m in results["methods"].items()},
        "ood_test": {name: ood_mean(m) for name, m in results["methods"].items()},
    }


def main() -> None:
    args = arguments("quickstart", __doc__, seeds=(0, 1, 2))
    rows = Rows("quickstart", args, ("suite", "mode", "seed"))
    suites, seeds = (("digits",), args.seeds[:1]) if args.quick else (("digits", "shapes"), args.seeds)
    runs = product(suites, seeds, ("hypergrad", "tpe"))
    todo = [r for r in runs if dict(zip(("suite", "seed", "mode"), r, strict=True)) not in rows]
    for row in in_workers([(run, *which, args.device, args.quick) for which in todo], 1):
        rows.add(row)


if __name__ == "__main__":
    main()
