"""What parts of an objective bring: fine-tunes without them, judged as the whole one is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft import config
from metaft.build import left_out as module
from metaft.build.fits import fit_settings
from metaft.build.fits import fits as fits_of
from metaft.build.left_out import left_out, parts
from metaft.build.workspace import workspace
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext
from metaft.objective import Objective
from tests.conftest import SMALL

LATER = Objective({"ce": 1.0, "kd": 0.5, "l2init": 0.0}, 1e-3, 0.1, sources={"ood_val": 0.5})
FOUND = Objective(
    {"ce": 1.0, "kd": 0.2, "l2init": 0.0, "entropy": 0.0},
    1e-3,
    0.1,
    groups={"stem": {"terms": {"l2init": 0.3}, "lr": 1e-4}, "head": {"wd": 0.2}},
    schedule=((0.5, LATER),),
    sources={"ood_val": 1.0},
)


@pytest.fixture(scope="module")
def trains():
    """A workspace whose learned objective may train on ood_val."""
    return workspace(config.load(None, [*SMALL, "search.use_ood_labels=auto"]))


def fits_in(work, learned):
    context = FitContext(fit_settings(work, learned)).varied(steps=6, checks=1)
    return fits_of(work, context)


def test_each_part_has_no_weight_in_its_turn_anywhere():
    found = dict(parts(FOUND))
    assert list(found) == ["ce", "kd", "l2init", "ce:ood_val"], "what has no weight is no part"
    assert found["kd"] == replace(
        FOUND, terms={**FOUND.terms, "kd": 0.0}, schedule=((0.5, replace(LATER, terms={**LATER.terms, "kd": 0.0})),)
    )
    assert found["l2init"].groups == {"stem": {"terms": {"l2init": 0.0}, "lr": 1e-4}, "head": {"wd": 0.2}}
    assert found["ce:ood_val"].trained_sources == ()
    assert found["ce:ood_val"].terms == FOUND.terms
    assert FOUND.terms["kd"] == 0.2, "the objective itself stays as it is"
    assert dict(parts(Objective({"ce": 1.0, "kd": 0.0}, 1e-3, 0.1))) == {}, "nothing would be left"


@pytest.mark.full
def test_it_is_what_fine_tunes_without_a_part_reach_by_folds(trains):
    """Against fits of their own, judged fold by fold; without tests it is the same."""
    learned = Objective({"ce": 1.0, "l2init": 0.5}, 1e-3, 0.1, sources={"ood_val": 2.0})
    blind = replace(trains, splits=replace(trains.splits, tests={}))
    found = left_out(fits_in(blind, learned), learned)
    assert list(found["without"]) == ["ce", "l2init", "ce:ood_val"]

    def right(objective):
        """Whether each image of ood_val is named rightly by a model that was not trained on it."""
        kept = torch.zeros(len(trains.splits.ood_val), dtype=torch.bool)
        for part in fits_in(trains, objective).apart("autoft"):
            with torch.no_grad():
                images = part.judging.batch(torch.arange(len(part.judging)), "cpu").images
                kept[part.rows] = part.model(images).logits.argmax(dim=1) == part.judging.labels
        return kept.double()

    whole = right(learned)
    assert found["accuracy"] == float(whole.mean())
    for name, rest in (
        ("l2init", Objective({"ce": 1.0}, 1e-3, 0.1, sources={"ood_val": 2.0})),
        ("ce:ood_val", Objective({"ce": 1.0, "l2init": 0.5}, 1e-3, 0.1)),
    ):
        d = whole - right(rest)
        told = found["without"][name]
        assert told["accuracy"] == pytest.approx(float((whole - d).mean()))
        assert told["lost"] == pytest.approx(float(d.mean()))
        assert told["error"] == pytest.approx(float(d.std()) / len(d) ** 0.5)


def test_what_diverges_without_a_part_is_told(trains, monkeypatch):
    learned = Objective({"ce": 1.0, "l2init": 0.5}, 1e-3, 0.1)
    whole, asked = fits_in(trains, learned).judged("autoft"), []

    def judged(fits, name):
        asked.append(fits.labels)
        if fits.labels:
            raise DivergedError("in step 2")
        return whole

    monkeypatch.setattr(module.Fits, "judged", judged)
    found = left_out(fits_in(trains, learned), learned)
    assert found == {"accuracy": whole.accuracy, "without": {"ce": None, "l2init": None}}
    assert asked[1] == {"autoft_end": "autoft_end_without_ce", "autoft": "autoft_without_ce"}
    monkeypatch.setattr(module.Fits, "judged", lambda fits, name: None)
    assert left_out(fits_in(trains, learned), learned) == {}
