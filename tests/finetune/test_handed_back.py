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


FEW = {  # gains over theta_0's 60 points, with errors of sqrt(d - d^2) / sqrt(99): 33 and 27, 4.7 and 4.5 points
    "autoft": candidate(judged(range(7), 50), 0.8),
    "wise_ft": candidate(judged(range(13), 20), 0.9),
}


def worth(wrong: int, noise: float) -> float:
    """Of a model that is wrong on the first images, as theta_0 is on 40: a gain of d = (40 - wrong) / 100."""
    d = 0.4 - wrong / N
    return 1 - wrong / N - noise * ((d - d * d) / (N - 1)) ** 0.5


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0, 20.0, 30.0])
def test_what_is_unsure_is_taken_off(noise):
    """With the error of a share of N images by the formula for one."""
    better = worth(7, noise) > worth(13, noise)
    assert chosen(FEW, noise=noise).method == ("autoft" if better else "wise_ft")
    assert better == (noise < 25)


def test_where_images_are_few_the_one_that_changes_fewer_is_taken():
    """Of two with the same accuracy, the one that is right on other images than theta_0 has the larger error."""
    like = judged(range(5, 40), 20)  # right on all that theta_0 is, and on five more
    unlike = judged(range(65, 100), 90)  # right where theta_0 is wrong
    pair = {"unlike": candidate(unlike, 0.9), "like": candidate(like, 0.1)}
    assert chosen(pair, noise=0.0).method == "like", "of equals, the closer"
    ahead = {"unlike": candidate(judged(range(67, 100), 90), 0.9), "like": candidate(like, 0.1)}
    assert chosen(ahead, noise=0.0).method == "unlike"
    assert chosen(ahead, noise=1.0).method == "like"


def test_the_reason_has_the_numbers():
    ahead = {"unlike": candidate(judged(range(67, 100), 90), 0.9), "like": candidate(judged(range(5, 40), 20), 0.1)}
    like, unlike = (200 * Gap.between(ZERO.correct, ahead[name].judged.correct).error for name in ("like", "unlike"))
    assert chosen(ahead, noise=2.0).reason == (
        f"it has 65.0 % on ood_val, {65 - like:.1f} % less 2 standard errors of its difference from zero_shot; "
        f"unlike has 67.0 %, {67 - unlike:.1f} % less as many"
    )


def test_ties_are_broken_by_closeness_then_id_val_then_order():
    same = judged(range(10), 20)
    closer = candidate(judged(range(10), 19), 0.1)
    assert chosen({"a": candidate(same, 0.9), "b": closer}, noise=0).method == "b"
    assert chosen({"a": candidate(same, 0.8), "b": candidate(same, 0.9)}, noise=0).method == "b"
    assert chosen({"a": candidate(same, 0.9), "b": candidate(same, 0.9)}, noise=0).method == "a"


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
