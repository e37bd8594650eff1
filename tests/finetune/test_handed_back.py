"""Whose model is handed back: the best by ood_val within the floor of ID accuracy, or one as good and closer."""

from __future__ import annotations

import pytest
import torch

from metaft.finetune.crossfit import Judged
from metaft.finetune.handed_back import Candidate, Gap, handed_back

N = 100
THETA_0 = torch.zeros(N, dtype=torch.long)


def judged(right: range, moved: int) -> Judged:
    """Right on these images, and naming the first `moved` images otherwise than theta_0."""
    correct = torch.zeros(N, dtype=torch.bool)
    correct[list(right)] = True
    predictions = THETA_0.clone()
    predictions[:moved] = 1
    return Judged(predictions, correct)


ZERO_SHOT = judged(range(50), 0)


def chosen(noise=0.0, id_drop_max=None, **candidates):
    made = {name: Candidate(*values) for name, values in candidates.items()}
    return handed_back(made, ZERO_SHOT, id_drop_max=id_drop_max, noise=noise)


def test_the_best_by_ood_val():
    kept = chosen(ft=(judged(range(60), 50), 0.9), wise_ft=(judged(range(70), 30), 0.8))
    assert (kept.method, kept.ood_val) == ("wise_ft", 0.7)
    assert kept.reason == "it has the best accuracy on ood_val, 70.0 %"
    tied = chosen(ft=(judged(range(70), 50), 0.9), wise_ft=(judged(range(70), 60), 0.95), kd=(None, 1.0))
    assert tied.method == "ft", "of equals within rounding the closer one"


def test_the_closer_one_within_noise():
    """The difference is 5 of 100 images: mean 0.05, deviation sqrt(5 * 95 / (100 * 99)), error a tenth of it."""
    ahead, behind = judged(range(70), 60), judged(range(65), 20)
    error = (5 * 95 / (100 * 99)) ** 0.5 / 10
    gap = Gap.between(ahead, behind)
    assert (gap.mean, gap.error) == pytest.approx((0.05, error))
    pair = {"autoft": (ahead, 0.8), "wise_ft": (behind, 0.8)}
    limit = 0.05 / error
    assert chosen(limit - 0.01, **pair).method == "autoft"
    kept = chosen(limit + 0.01, **pair)
    assert kept.method == "wise_ft"
    assert kept.ood_val == 0.65
    assert "5.0 points below autoft" in kept.reason
    assert "20.0 % of the images, not 60.0 %, otherwise than zero_shot" in kept.reason


def test_id_accuracy_has_a_floor():
    pair = {"ft": (judged(range(40), 50), 0.9), "zero_shot": (ZERO_SHOT, 0.5), "wise_ft": (judged(range(45), 20), 0.88)}
    assert chosen(**pair).method == "zero_shot"
    kept = chosen(id_drop_max=0.03, **pair)
    assert kept.method == "wise_ft"
    assert kept.reason.endswith("zero_shot lost more than 3.0 points of ft's on id_val")
    assert chosen(id_drop_max=0.02, **pair).method == "wise_ft", "exactly on the floor"
    assert chosen(id_drop_max=0.03, zero_shot=(ZERO_SHOT, 0.5)).method == "zero_shot", "no ft, no floor"


def test_what_cannot_be_judged_is_left_aside():
    assert chosen(ft=(judged(range(40), 50), 0.9), ft_ood_val=(None, 0.95)).method == "ft"
    alone = chosen(ft_ood_val=(None, 0.95), dfr=(None, 0.9))
    assert (alone.method, alone.ood_val) == ("ft_ood_val", None)
