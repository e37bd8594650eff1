"""Knobs: defaults, and the faults of given values."""

from __future__ import annotations

from metaft.hooks.knobs import Knob, faults, settled
from metaft.space import Categorical, Float, Int


def test_knobs():
    knobs = (
        Knob(Float("speed", 0.0, 1.0), 0.5),
        Knob(Int("rank", 1, 8), 4),
        Knob(Categorical("norm", ("mars", "l2")), "mars"),
    )
    assert settled(knobs, {"rank": 2}) == {"speed": 0.5, "rank": 2, "norm": "mars"}
    assert faults("f", knobs, {"speed": 1, "rank": 8, "norm": "l2"}) == []
    said = [str(p) for p in faults("f", knobs, {"speeed": 1, "speed": 2.0, "rank": 1.5, "norm": "l3"})]
    assert said == [
        "f.speeed: unknown name 'speeed'; allowed: norm, rank, speed. Did you mean 'speed'?",
        "f.speed: 2.0; allowed: 0.0 to 1.0.",
        "f.rank: 1.5; allowed: 1 to 8.",
        "f.norm: 'l3'; allowed: mars, l2.",
    ]


def test_a_knob_may_be_left_to_validation():
    knobs = (Knob(Float("alpha", 0.0, 1.0), None), Knob(Float("speed", 0.0, 1.0), 0.5))
    assert settled(knobs, {}) == {"alpha": None, "speed": 0.5}
    assert settled(knobs, {"alpha": 0.0})["alpha"] == 0.0
    assert faults("f", knobs, {"alpha": None}) == []
    assert [str(p) for p in faults("f", knobs, {"alpha": 2, "speed": None})] == [
        "f.alpha: 2; allowed: 0.0 to 1.0, or null: chosen on validation data.",
        "f.speed: None; allowed: 0.0 to 1.0.",
    ]
