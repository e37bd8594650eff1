"""Short whole runs whose trials, objectives and metrics are kept in runs.json: what a change of structure may not move.

    python -m tests.golden.runs            writes runs.json beside this file
    python -m tests.golden.runs --only tpe writes one run of it again

Numbers are those of one thread on one kind of processor (`machine`); on any other the test compares names alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from metaft.run import main as metaft

HERE = Path(__file__).parent
CONFIGS = HERE.parent.parent / "configs"
FILE = HERE / "runs.json"
SMALL = (
    *("data.options.id_train=200", "data.options.id_val=60", "data.options.test=60"),
    *("inner.steps=2", "inner.batch_size=16", "finetune.epochs=1", "finetune.batch_size=50"),
    *("search.seconds=null", "search.step_equivalents=null", "search.candidates=2", "search.outer_batch_size=64"),
    *("evaluation.bootstrap=100", "device=cpu"),
)
DETAILS = ("calibration", "confusion", "right", "sizes")
FEW = "evaluation.methods=[autoft]"
SOME = "evaluation.methods=[zero_shot, ft, wise_ft, autoft, dfr, oracle]"
PROTOCOL = (  # AutoFT's, with the searches that these runs were first made by
    *("search.use_ood_labels=judge", "search.id_drop_max=null", "search.final_share=0.1"),
    *("objective.head=zero_shot", "objective.mix=false", "finetune.method=autoft"),
)
GROUPS = str(CONFIGS / "groups.yaml")
RUNS: dict[str, tuple[str, ...]] = {
    "hypergrad": ("--mode", "hypergrad", "search.trials=14", SOME),
    "tpe": ("--mode", "tpe", "search.trials=24", FEW),
    "univariate": ("--mode", "tpe", "search.trials=14", "tpe.multivariate=false", "tpe.weights=uniform", FEW),
    "random": ("--mode", "random", "search.trials=6", "search.stop_hopeless=true", FEW),
    "groups": ("--mode", "hypergrad", "--config", GROUPS, "search.trials=11", FEW),
    "groups_tpe": ("--mode", "tpe", "--config", GROUPS, "search.trials=13", FEW),
    "scout": ("--mode", "hypergrad", "search.init=tpe", "search.trials=14", "search.outer_loss=error", FEW),
    "probe": ("--mode", "hypergrad", "objective.head=linear_probe", "search.trials=8", "inner.warm_start=2", FEW),
    "hooked": ("--mode", "hypergrad", "search.method=ftp", "search.trials=8", "search.id_drop_max=0.02", FEW),
    "online": ("--mode", "hypergrad", "hypergrad.regime=online", "hypergrad.share=6", "search.trials=99", FEW),
    "truncated": (
        *("--mode", "hypergrad", "hypergrad.estimator=truncated", "hypergrad.storage=replay"),
        *("search.trials=7", FEW),
    ),
    "units": (
        *("--mode", "hypergrad", "objective.weight_units=gradient", "inner.schedule=cosine"),
        *("search.trials=7", FEW),
    ),
    "methods": ("--mode", "random", "--config", str(CONFIGS / "methods.yaml"), "search.trials=3"),
}


def machine() -> dict[str, str]:
    """What the last digits of a run depend on."""
    info = Path("/proc/cpuinfo")
    pairs = [line.partition(":") for line in (info.read_text().splitlines() if info.exists() else [])]
    found = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
    kind = [found.get(key, "") for key in ("model name", "cpu family", "model", "stepping")]
    processor = " ".join([*kind, torch.backends.cpu.get_cpu_capability()]).strip()
    return {"processor": processor if found else platform.machine(), "torch": torch.__version__}


def played(words: tuple[str, ...]) -> dict[str, Any]:
    """The trials, objective and results of a run, without seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            code = metaft([*PROTOCOL, *words, "--out", str(run), "--seed", "7", "--quiet", *SMALL])
            results = json.loads((run / "results.json").read_text())
            methods = results["methods"].items()
            journal = run / "search" / "trials.jsonl"
            records = [json.loads(line) for line in journal.read_text().splitlines()[2:]]
    finally:
        torch.set_num_threads(threads)
    return {
        "code": code,
        "records": [_untimed(record) for record in records if record["kind"] != "start"],
        "objective": results["objective"],
        "search": {k: v for k, v in (results["search"] or {}).items() if k != "seconds"},
        "methods": {name: {split: _measured(score) for split, score in splits.items()} for name, splits in methods},
        "drift": results["drift"],
        "cost": {name: cost["step_equivalents"] for name, cost in results["cost"].items()},
    }


def _measured(score: dict[str, Any]) -> dict[str, Any]:
    """A score without what it says of single images and classes, which hangs on the same outputs."""
    return {k: v for k, v in score.items() if k not in DETAILS}


def _untimed(record: dict[str, Any]) -> dict[str, Any]:
    outcome = {k: v for k, v in record["outcome"].items() if k != "seconds"}
    return {**{k: v for k, v in record.items() if k not in ("clock", "crc")}, "outcome": outcome}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=RUNS, action="append")
    args = parser.parse_args()
    kept = json.loads(FILE.read_text()) if args.only and FILE.exists() else {"runs": {}}
    runs = {**kept["runs"], **{name: played(RUNS[name]) for name in args.only or RUNS}}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(run)}" for name, run in runs.items())
    FILE.write_text(f'{{"machine": {json.dumps(machine())}, "runs": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
