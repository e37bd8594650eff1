"""Runs that nobody made, with all that a report shows."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from math import inf
from typing import Any

from PIL import Image

from metaft.cost import Cost
from metaft.report.run import Example, Examples, Kind, Picture, Run
from metaft.results import HandedBack, Results
from metaft.score import Score
from metaft.search.lines import Record
from metaft.search.outcome import Outcome
from metaft.space import Categorical, Float, Int

CLASSES = ("cat & mouse", "dog", "owl")
METHODS = {
    "zero_shot": (0.5, 0.45),
    "ft": (0.8, 0.4),
    "wise_ft": (0.7, 0.48),
    "autoft": (0.78, 0.62),
    "oracle": (0.6, 0.7),
}
SPACE = (
    *(Float(f"lr@block.{i}.attn", 1e-5, 1e-1, log=True) for i in range(3)),
    Float("kd", 0, 10, scale="asinh"),
    Int("rank", 1, 4),
    Categorical("head", ("zero_shot", "probe")),
)


def score(value: float, *, whole: bool = True) -> Score:
    metrics = {"accuracy": value, "nll": 2 - value}
    intervals = {"accuracy": (value - 0.03, value + 0.04), "nll": (1.9 - value, 2.2 - value)}
    if not whole:
        return Score(metrics, 25, intervals)
    right = round(100 * value)
    return Score(
        metrics,
        100,
        intervals,
        by_domain={"dusk <1>": score(value - 0.1, whole=False), "dawn": score(value + 0.05, whole=False)},
        calibration=((40, 0.3, 0.2), (60, 0.85, 0.7)),
        confusion=((0, 0, right), (1, 2, 100 - right)),
    )


RESULTS = Results(
    scores={
        name: {"id_test": score(inside), "ood_test/fog": score(outside), "ood_test/sketch": score(outside - 0.05)}
        for name, (inside, outside) in METHODS.items()
    },
    seed=3,
    provenance={
        "command": ["run.py", "--mode", "hypergrad", "--out", "a b"],
        "versions": {"python": "3.11", "metaft": "0.1"},
        "device": {"type": "cpu", "name": "x", "threads": 1},
        "date": "2026-01-02T03:04:05+0000",
        "data": {"ood_val": {"n": 80, "sha256": "00"}, "id_test": {"n": 100, "sha256": "01"}},
        "classes": list(CLASSES),
        "suite": {"format": "shapes", "version": 2},
    },
    title="a & b <study>",
    mode="hypergrad",
    objective={"terms": {"ce": 1.0, "kd": 0.25}, "lr": 1e-4, "wd": 0.1, "groups": {"stem": {"lr": 1e-5}}},
    search={"trials": 6, "best_value": 1.25, "seconds": 12.5, "finalists": []},
    cost={name: Cost(30.0 * i, 1.5 * i) for i, name in enumerate(METHODS)},
    drift={
        name: {
            "weights": {"stem": 0.1 * i, "head": 1.0 * i, "all": 1.1 * i},
            "features": {"id_val": 0.1, "ood_val": 0.2},
        }
        for i, name in enumerate(METHODS)
    },
    failed={"lora": "diverged in step 3"},
    curve={
        "wise_ft": [
            {"alpha": a / 10, "accuracy": {"id_test": 0.5 + 0.03 * a, "ood_test/fog": 0.45 + 0.01 * a * (10 - a) / 10}}
            for a in range(11)
        ]
    },
    ood_val={"zero_shot": 0.5, "autoft": 0.625, "wise_ft": 0.61},
    handed_back=HandedBack("autoft", "it has the best accuracy on ood_val, 62.5 %", 0.625),
)
DOCUMENT: dict[str, Any] = RESULTS.to_dict()


def params(i: int) -> dict[str, Any]:
    rates = {f"lr@block.{b}.attn": 1e-4 * (i + b + 1) for b in range(3)}
    return {**rates, "kd": 0.2 * i, "rank": 1 + i % 4, "head": "probe" if i % 2 else "zero_shot"}


def outcome(value: float, status: Any = "ok") -> Outcome:
    return Outcome(value, 0.5, value, 4, 12.0, 0.5, status, "a reason" if status != "ok" else "")


def record(kind: Any, i: int, value: float, gradient: tuple[float, ...] | None, status: Any = "ok") -> Record:
    return Record(kind, i, params(i), i, outcome(value, status), gradient, clock=1.0 + i)


SLOPES = (-1.0, 0.5, 0.1, -0.2, 0.0, 0.0)
RECORDS = (
    record("trial", 0, 2.0, None),
    record("trial", 1, inf, None, "diverged"),
    *(record("trial", i, 2.0 - 0.1 * i, tuple((1 + 0.1 * i) * s for s in SLOPES)) for i in range(2, 6)),
    record("check", 5, 1.5, (1.0, 0.5)),
    record("final", 6, 1.4, None),
)
EVENTS = (
    {"method": "ft", "step": 3, "loss": 0.5, "id_val_accuracy": 0.8},
    *(
        {
            "method": "wise_ft",
            "alpha": a / 10,
            "id_val_accuracy": 0.5 + 0.03 * a,
            "ood_val_accuracy": 0.5 - 0.001 * (a - 4) ** 2,
            "chosen": a == 4,
        }
        for a in range(11)
    ),
)


def picture() -> Picture:
    file = BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 90)).save(file, format="png")
    return Picture(format="png", base64=base64.b64encode(file.getvalue()).decode())


EXAMPLES = Examples(
    method="autoft",
    over="ft",
    images=80,
    fixed=Kind(
        count=20, shown=[Example(label=CLASSES[0], said=CLASSES[0], before="dog", domain="dusk", picture=picture())]
    ),
    broken=Kind(count=2, shown=[Example(label="dog", said="owl", before="dog")]),
)
RICH = Run("runs/rich", DOCUMENT, RECORDS, SPACE, EVENTS, EXAMPLES)
OTHER = replace(RICH, name="runs/other & more", results={**DOCUMENT, "mode": "tpe", "seed": 4})
BARE = Run("bare", {"methods": {}, "seed": 0, "provenance": {}})
