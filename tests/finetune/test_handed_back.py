"""Which model is handed back, on judgements of which every figure is known."""

from __future__ import annotations

import pytest
import torch

from metaft.finetune.crossfit import Judged
from metaft.finetune.handed_back import Candidate, handed_back
from metaft.metrics import Gap

N = 100
LABELS = torch.zeros(N, dtype=torch.int64)


def judged(wrong: range, moved: int) -> Judged:
    """Wrong on these images, and of another opinion than `ZERO` on `moved` of them; classes say no more than that."""
    said = ZERO_SAID.clone()
    said[:moved] += 2
    right = torch.ones(N, dtype=torch.bool)
    right[wrong.start : wrong.stop] = False
    return Judged(said, right)


def candidate(of_ood_val, id_val):
    """A candidate that is right on the first `id_val` of the ID images."""
    return Candidate(of_ood_val, Judged(LABELS, torch.arange(N) < round(id_val * N)))


ZERO_SAID = LABELS
ZERO = Judged(ZERO_SAID, torch.arange(N) >= 40)


def chosen(candidates, id_drop_max=None, noise=1.0):
    return handed_back(candidates, ZERO, id_drop_max=id_drop_max, noise=noise)


def test_the_best_is_handed_back_where_no_other_is_as_good():
    kept = chosen({"ft": candidate(judged(range(40), 5), 0.9), "autoft": candidate(judged(range(10), 50), 0.8)})
    assert (kept.method, kept.ood_val) == ("autoft", pytest.approx(0.9))
    assert kept.reason == "it has the best accuracy on ood_val, 90.0 %"


WITHIN = {  # 3 points apart, with a standard error of sqrt((3 - 0.09) / 99) / 10 = 1.7 points
    "autoft": candidate(judged(range(10), 50), 0.8),
    "wise_ft": candidate(judged(range(13), 20), 0.9),
}


@pytest.mark.parametrize(("noise", "method"), [(0.0, "autoft"), (1.0, "autoft"), (1.7, "autoft"), (1.8, "wise_ft")])
def test_within_noise_the_one_closer_to_theta_0(noise, method):
    assert chosen(WITHIN, noise=noise).method == method


def test_the_reason_has_the_numbers():
    assert chosen(WITHIN, noise=2.0).reason == (
        "it has 87.0 % on ood_val, 3.0 points below autoft, within 2 standard errors of 1.7, "
        "and is closer to theta_0: it names 20.0 % of the images, not 50.0 %, otherwise than zero_shot"
    )


def test_ties_are_broken_by_closeness_then_id_val_then_order():
    same = judged(range(10), 20)
    closer = candidate(judged(range(10), 19), 0.1)
    assert chosen({"a": candidate(same, 0.9), "b": closer}, noise=0).method == "b"
    assert chosen({"a": candidate(same, 0.8), "b": candidate(same, 0.9)}, noise=0).method == "b"
    assert chosen({"a": candidate(same, 0.9), "b": candidate(same, 0.9)}, noise=0).method == "a"


def test_the_better_of_two_as_close():
    """Within noise and named as often otherwise than by theta_0, accuracy on ood_val decides."""
    pair = {"a": candidate(judged(range(11), 20), 0.9), "b": candidate(judged(range(10), 20), 0.1)}
    assert chosen(pair, noise=9).method == "b"


FLOORED = {
    "ft": candidate(judged(range(40), 30), 0.90),
    "ft_ood_val": candidate(judged(range(5), 60), 0.80),
    "autoft": candidate(judged(range(20), 40), 0.87),
}


@pytest.mark.parametrize(
    ("id_drop_max", "method"), [(None, "ft_ood_val"), (0.1, "ft_ood_val"), (0.015, "autoft"), (0.0, "autoft")]
)
def test_what_is_lost_in_distribution_counts_twice(id_drop_max, method):
    """ft_ood_val is 15 points better on ood_val, and 22 below ft on id_val with an error of 4.2."""
    lost = {**FLOORED, "ft_ood_val": candidate(judged(range(5), 60), 0.68)}
    assert chosen(lost, id_drop_max, noise=0.0).method == method


@pytest.mark.parametrize(("id_val", "kept"), [(0.84, True), (0.76, True), (0.75, False)])
def test_a_loss_in_distribution_is_a_matter_of_price(id_val, kept):
    """2 (gap - 2 errors - limit) is weighed against 15 points on ood_val."""
    lost = {**FLOORED, "ft_ood_val": candidate(judged(range(5), 60), id_val)}
    gap = Gap.between(lost["ft"].id_val.correct, lost["ft_ood_val"].id_val.correct)
    assert gap.mean == pytest.approx(0.90 - id_val)
    assert (2 * (gap.mean - 2 * gap.error) <= 0.15) == kept
    assert (chosen(lost, 0.0, noise=0.0).method == "ft_ood_val") == kept


def test_what_is_marked_down_is_named():
    lost = {**FLOORED, "ft_ood_val": candidate(judged(range(5), 60), 0.60)}
    error = 100 * Gap.between(lost["ft"].id_val.correct, lost["ft_ood_val"].id_val.correct).error
    assert chosen(lost, 0.03).reason == (
        "it has 80.0 % on ood_val, the best of those that keep accuracy in distribution; marked down for being more "
        f"than 3.0 points below ft on id_val: ft_ood_val by {2 * (30 - 2 * error - 3):.1f}"
    )


def test_without_ft_or_without_any_above_it_there_is_no_floor():
    without = {name: c for name, c in FLOORED.items() if name != "ft"}
    assert chosen(without, 0.0, noise=0.0).method == "ft_ood_val"
    unjudged = {**without, "ft": candidate(None, 0.99)}
    assert chosen(unjudged, 0.0, noise=0.0).method == "ft_ood_val", "none is above it"


def test_what_ood_val_cannot_judge_is_left_aside():
    pair = {"ft_ood_val": candidate(None, 0.99), "zero_shot": candidate(ZERO, 0.1)}
    assert chosen(pair).method == "zero_shot"
    kept = chosen({"a": candidate(None, 0.1), "b": candidate(None, 0.2)})
    assert (kept.method, kept.ood_val) == ("b", None)
    assert "no image of ood_val is left to judge by" in kept.reason
