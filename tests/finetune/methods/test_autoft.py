"""autoft: the learned objective it needs, and one that begins with the linear probe's head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.build.problem import problem_in
from metaft.finetune.methods import METHODS
from metaft.objective import Objective
from metaft.training.reference import Reference

STILL = Objective({"ce": 1.0}, 1e-12, 0.0, head="linear_probe")


def test_it_needs_an_objective(work, data, context):
    with pytest.raises(ValueError, match="no learned objective"):
        METHODS["autoft"].fit(work.classifier, data, context)


def test_a_fine_tune_that_stands_still_is_the_probe(work, context):
    fits = fits_of(work, context.varied(learned=STILL))
    probe, tuned = fits("linear_probe"), fits("autoft")
    for ours, theirs in zip(tuned.model.parameters(), probe.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)
    assert not torch.equal(tuned.model.head.weight, work.classifier.head.weight)
    assert tuned.cost.step_equivalents > probe.cost.step_equivalents, "the probe is on the bill"


def test_kd_keeps_to_what_the_model_says_that_it_begins_with(work, probed, context, monkeypatch):
    """In the inner loop and in the fine-tune alike: theta_0 has the head of the objective."""
    taught = replace(STILL, terms={"ce": 1.0, "kd": 1.0})
    teachers, begin = [], Reference.__init__

    def look(self, classifier, *of):
        teachers.append(classifier.head.weight.clone())
        begin(self, classifier, *of)

    monkeypatch.setattr(Reference, "__init__", look)
    fits = fits_of(work, context.varied(learned=taught))
    fits.model("autoft")
    torch.testing.assert_close(teachers[-1], fits.model("linear_probe").head.weight)
    problem = problem_in(probed)
    step, (batch, *_) = problem.inner.of({"head": "linear_probe"}, 0), problem.inner_batches(torch.Generator())
    kept, lost = (s.loss(step.initial().params, batch, {"kd": 1.0}).item() for s in (step, problem.inner.first))
    assert abs(kept) < 1e-6
    assert lost > 0.01, "which is not what class names say"
