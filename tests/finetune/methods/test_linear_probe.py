"""linear_probe: its penalty is a choice."""

from __future__ import annotations

from dataclasses import replace

from metaft.finetune.methods import METHODS


def test_it_chooses_c_on_validation(work, data, short):
    events = []
    METHODS["linear_probe"].fit(work.fresh(), data, replace(short, log=events.append))
    (event,) = events
    assert event["inverse_penalty"] in (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
