"""Which model is handed back, on judgements of which every figure is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaft.finetune.crossfit import Judged
from metaft.finetune.handed_back import Candidate, handed_back
from metaft.metrics import Gap

N, CLASSES = 100, 4
LABELS = torch.zeros(N, dtype=torch.int64)


def judged(wrong: range, named: int = 1) -> Judged:
    """Names class `named` on these images and the label on the others, all as surely."""
    said = LABELS.clone()
    said[wrong.start : wrong.stop] = named
    return Judged(torch.nn.functional.one_hot(said, CLASSES).double(), LABELS)


def candidate(of_ood_val, id_val):
    """A candidate that is right on the first `id_val` of the ID images."""
    return Candidate(of_ood_val, judged(range(round(id_val * N), N)))


ZERO = judged(range(40))


def chosen(candidates, id_drop_max=None, noise=1.0):
    return handed_back(candidates, ZERO, id_drop_max=id_drop_max, noise=noise)


def losses(model: Judged) -> np.ndarray:
    """In closed form: at its best temperature a model that is as sure everywhere is right as often as it says."""
    right = model.correct.numpy()
    a = right.mean()
    return np.where(right, -np.log(a), -np.log((1 - a) / (CLASSES - 1)))


def told(model: Judged) -> tuple[float, float]:
    """What accuracy and loss tell of accuracy, 2.5 nats being worth all of it, and the standard error of the gain."""
    d = (model.correct.numpy().astype(float) - ZERO.correct.numpy() + (losses(ZERO) - losses(model)) / 2.5) / 2
    return 0.6 + d.mean(), d.std(ddof=1) / N**0.5


def test_the_best_is_handed_back_where_no_other_is_as_good():
    kept = chosen({"ft": candidate(judged(range(40)), 0.9), "autoft": candidate(judged(range(10)), 0.8)})
    assert (kept.method, kept.ood_val) == ("autoft", pytest.approx(0.9))
    assert kept.reason == "it has the best accuracy on ood_val, 90.0 %"


def test_losses_are_those_of_the_closed_form():
    for model in (ZERO, judged(range(10)), judged(range(70, 80), 2)):
        np.testing.assert_allclose(model.losses.numpy(), losses(model), rtol=1e-6)


LIKE = judged(range(5, 40))  # right on all that theta_0 is right on, and on five more
UNLIKE = judged(range(67, 100), 2)  # right where theta_0 is wrong, and on more images


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5, 1.0, 3.0])
def test_what_is_unsure_is_taken_off(noise):
    """The one that is like theta_0 has the smaller error, which decides from some noise on."""
    pair = {"unlike": candidate(UNLIKE, 0.9), "like": candidate(LIKE, 0.1)}
    (mean, error), (other, larger) = told(LIKE), told(UNLIKE)
    assert mean < other
    assert error < larger
    turn = (other - mean) / (larger - error)
    assert 0.2 < turn < 0.5
    assert chosen(pair, noise=noise).method == ("like" if noise > turn else "unlike")


def test_the_loss_has_half_of_the_say_on_a_hundred_images():
    """Of two that are right as often, the one whose mistakes are less sure; and for a point it gives way to none."""
    sure, unsure = judged(range(35)), judged(range(35))
    logits = unsure.logits.clone()
    logits[:35] *= 0.2
    unsure = Judged(logits, LABELS)
    assert sure.accuracy == unsure.accuracy
    assert float(unsure.losses.mean()) < float(sure.losses.mean()) - 0.1
    kept = chosen({"sure": candidate(sure, 0.9), "unsure": candidate(unsure, 0.1)}, noise=0.0)
    assert (kept.method, kept.reason) == ("unsure", "it has the best accuracy on ood_val, 65.0 %")
    ahead = {"sure": candidate(judged(range(34)), 0.9), "unsure": candidate(unsure, 0.1)}
    assert chosen(ahead, noise=0.0).method == "unsure"
    far_ahead = {"sure": candidate(judged(range(15)), 0.9), "unsure": candidate(unsure, 0.1)}
    assert chosen(far_ahead, noise=0.0).method == "sure"


def test_the_reason_has_the_numbers():
    pair = {"unlike": candidate(UNLIKE, 0.9), "like": candidate(LIKE, 0.1)}

    def numbers(model):
        mean, error = told(model)
        return (
            f"{100 * model.accuracy:.1f} %, with its loss {100 * mean:.1f} %, for sure {100 * (mean - 2 * error):.1f} %"
        )

    assert chosen(pair, noise=2.0).reason == (
        f"of accuracy on ood_val it has {numbers(LIKE)}; unlike has {numbers(UNLIKE)} (2 standard errors are taken off)"
    )


def test_ties_are_broken_by_closeness_then_id_val_then_order():
    closer, farther = judged(range(40)), judged(range(40), 2)
    assert chosen({"a": candidate(farther, 0.9), "b": candidate(closer, 0.1)}, noise=0).method == "b"
    assert chosen({"a": candidate(closer, 0.8), "b": candidate(closer, 0.9)}, noise=0).method == "b"
    assert chosen({"a": candidate(closer, 0.9), "b": candidate(closer, 0.9)}, noise=0).method == "a"


FLOORED = {
    "ft": candidate(judged(range(40)), 0.90),
    "ft_ood_val": candidate(judged(range(5)), 0.80),
    "autoft": candidate(judged(range(20)), 0.87),
}


@pytest.mark.parametrize(
    ("id_drop_max", "method"), [(None, "ft_ood_val"), (0.1, "ft_ood_val"), (0.015, "autoft"), (0.0, "autoft")]
)
def test_what_is_lost_in_distribution_counts_twice(id_drop_max, method):
    """ft_ood_val is 15 points better on ood_val, and 22 below ft on id_val with an error of 4.2."""
    lost = {**FLOORED, "ft_ood_val": candidate(judged(range(5)), 0.68)}
    assert chosen(lost, id_drop_max, noise=0.0).method == method


@pytest.mark.parametrize(("id_val", "kept"), [(0.84, True), (0.75, True), (0.72, False)])
def test_a_loss_in_distribution_is_a_matter_of_price(id_val, kept):
    """2 (gap - 2 errors - limit) is weighed against what 15 points on ood_val come to with their losses."""
    lost = {**FLOORED, "ft_ood_val": candidate(judged(range(5)), id_val)}
    gap = Gap.between(lost["ft"].id_val.correct, lost["ft_ood_val"].id_val.correct)
    assert gap.mean == pytest.approx(0.90 - id_val)
    ahead = told(judged(range(5)))[0] - told(judged(range(20)))[0]
    assert (2 * (gap.mean - 2 * gap.error) <= ahead) == kept
    assert (chosen(lost, 0.0, noise=0.0).method == "ft_ood_val") == kept


def test_what_is_marked_down_is_named():
    lost = {**FLOORED, "ft_ood_val": candidate(judged(range(5)), 0.60)}
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


def test_it_is_chosen_by_the_metric():
    """Of two classes with ten images and with ninety: one is right on the many, the other on nine of ten of each."""
    labels = (torch.arange(N) < 10).long()

    def of(said):
        return candidate(Judged(torch.nn.functional.one_hot(said, CLASSES).double(), labels), 0.9)

    balanced = labels.clone()
    balanced[torch.arange(0, N, 10)] = 2
    balanced[50:55] = 2
    pair = {"many": of(torch.zeros(N, dtype=torch.int64)), "balanced": of(balanced)}
    theta_0 = Judged(torch.nn.functional.one_hot(torch.full((N,), 3), CLASSES).double(), labels)

    def kept(metric):
        return handed_back(pair, theta_0, id_drop_max=None, noise=0.0, metric=metric)

    assert kept("accuracy").method == "many"
    assert kept("mean_per_class").method == "balanced"
    assert (
        kept("mean_per_class").reason == f"it has the best mean per class on ood_val, {100 * (0.9 + 77 / 90) / 2:.1f} %"
    )
    assert kept("mean_per_class").ood_val == pytest.approx(0.86), "which is accuracy"
    nll = kept("nll")
    losses = {name: -c.judged.score("nll") for name, c in pair.items()}
    assert nll.method == min(losses, key=losses.get)
    assert nll.reason == f"it has the best NLL on ood_val, {min(losses.values()):.3f} nats"
