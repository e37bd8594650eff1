"""autoft: the learned objective it needs, and one that begins with the linear probe's head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.build.problem import problem_in
from metaft.finetune.methods import METHODS
from metaft.objective import Objective
from metaft.training.batches import Reference

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


def test_kd_keeps_to_what_theta_0_says(work, probed, context, monkeypatch):
    seen = []
    begin = Reference.__init__

    def look(self, classifier, split, device):
        seen.append(classifier.head.weight.clone())
        begin(self, classifier, split, device)

    monkeypatch.setattr(Reference, "__init__", look)
    problem_in(probed)
    fits_of(work, context.varied(learned=replace(STILL, terms={"ce": 1.0, "kd": 1.0}))).model("autoft")
    assert len(seen) == 2
    for weight in seen:
        torch.testing.assert_close(weight, work.classifier.head.weight)
