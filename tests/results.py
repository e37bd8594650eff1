"""Results that no run gave."""

from __future__ import annotations

from typing import Any

from metaft.cost import Cost
from metaft.results import HandedBack, Results
from metaft.score import Score


def score(value: float) -> Score:
    return Score({"accuracy": value}, 100, {"accuracy": (value - 0.05, value + 0.05)})


RESULTS = Results(
    scores={
        "zero_shot": {"id_test": score(0.5), "ood_test/fog": score(0.6), "ood_test/sketch": score(0.4)},
        "ft": {"id_test": score(0.8), "ood_test/fog": score(0.5), "ood_test/sketch": score(0.2)},
    },
    seed=0,
    provenance={},
    title="a & b <study>",
    mode="tpe",
    objective={"terms": {"ce": 1.0, "kd": 0.25}, "lr": 1e-4, "wd": 0.1},
    search={"trials": 3, "best_value": 1.25, "finalists": []},
    cost={"ft": Cost(32.0, 1.5)},
    failed={"autoft": "diverged in step 3"},
    ood_val={"zero_shot": 0.625},
    handed_back=HandedBack("zero_shot", "it has the best accuracy on ood_val, 62.5 %", 0.625),
)
DOCUMENT: dict[str, Any] = RESULTS.to_dict()
