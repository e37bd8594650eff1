"""An objective as one flat mapping, and its stages."""

from __future__ import annotations

from metaft.objective import Objective

PLAIN = Objective({"ce": 1.0, "kd": 0.1}, 1e-5, 0.1)


def test_values_go_there_and_back():
    groups = {"block.0.attn": {"lr": 1e-3, "terms": {"l2init": 0.5}}, "head": {"wd": 0.0}}
    full = Objective({"ce": 1.0}, 1e-5, 0.1, groups, "ftp", {"kappa": 0.5})
    assert full.values() == {
        **{"ce": 1.0, "lr": 1e-5, "wd": 0.1, "ftp.kappa": 0.5},
        **{"lr@block.0.attn": 1e-3, "l2init@block.0.attn": 0.5, "wd@head": 0.0},
    }
    assert Objective.from_values(full.values(), "ftp") == full
    assert Objective.from_values(PLAIN.values()) == PLAIN


def test_a_weight_of_zero_needs_no_text():
    assert not PLAIN.needs_text
    assert Objective({"flyp": 0.1}, 1e-5, 0.1).needs_text
    assert not Objective({"flyp": 0.0}, 1e-5, 0.1).needs_text
