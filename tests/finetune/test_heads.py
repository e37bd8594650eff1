"""A learned objective that begins with the linear probe's head."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from metaft import build, config
from metaft.finetune.fits import Fits
from metaft.objective import Objective
from metaft.training.batches import Reference

STILL = Objective({"ce": 1.0}, 1e-12, 0.0, head="linear_probe")


@pytest.fixture(scope="module")
def probed(work):
    """The workspace of the probe's head, on the same data and model."""
    cfg = work.cfg.model_copy(update={"objective": config.load(None, ["objective.head=linear_probe"]).objective})
    return replace(work, cfg=cfg)


def fitted(work, objective):
    return Fits(partial(build.fit, work), build.fit_settings(work, objective))


def test_a_fine_tune_that_stands_still_is_the_probe(work):
    fits = fitted(work, STILL)
    probe, cost = fits("linear_probe")
    model, whole = fits("autoft")
    for ours, theirs in zip(model.parameters(), probe.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)
    assert not torch.equal(model.head.weight, work.classifier.head.weight)
    assert whole.step_equivalents > cost.step_equivalents, "the probe is on the bill"


def test_a_search_begins_where_the_fine_tune_does(probed):
    problem = build.problem_in(probed)
    begin = problem.step.initial().params
    probe = fitted(probed, STILL).model("linear_probe").trained()
    for ours, name in zip(begin, problem.step.pretrained, strict=True):
        torch.testing.assert_close(ours, probe[name])
    assert build.beginning(probed) is build.beginning(probed), "it is fitted once"


def test_kd_keeps_to_what_theta_0_says(work, probed, monkeypatch):
    seen = []
    own = Reference.__init__

    def look(self, classifier, split, device):
        seen.append(classifier.head.weight.clone())
        own(self, classifier, split, device)

    monkeypatch.setattr(Reference, "__init__", look)
    build.problem_in(probed)
    fitted(work, replace(STILL, terms={"ce": 1.0, "kd": 1.0})).model("autoft")
    assert len(seen) == 2
    for weight in seen:
        torch.testing.assert_close(weight, work.classifier.head.weight)
