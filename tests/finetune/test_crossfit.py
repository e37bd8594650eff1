"""Cross-fitted judging: no image judges a model that was trained on it, and every image judges once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.data.types import Domains
from metaft.finetune.fits import Fits, Memory
from metaft.finetune.methods import METHODS, Method, always
from metaft.objective import Objective

SIZE = 24
DOMAINS = Domains(("ink", "chalk", "pencil"), torch.arange(SIZE) % 3)


@dataclass
class Spy:
    """A method that remembers the labels it was trained on, which are the images' numbers here."""

    seen: list[set[int]] = field(default_factory=list)

    def __call__(self, name, ood_val, context):
        self.seen.append(set(ood_val.labels.tolist()))
        return self.model

    model: torch.nn.Module = None


@pytest.mark.parametrize("domains", [None, DOMAINS], ids=["images", "domains"])
@pytest.mark.parametrize("count", [2, 3])
def test_no_image_judges_what_was_trained_on_it(work, context, monkeypatch, count, domains):
    monkeypatch.setitem(METHODS, "spy", Method("a spy", lambda *_: None, fits_ood_val=always))
    part = work.splits.ood_val.subset(torch.arange(SIZE))
    numbered = replace(part, labels=torch.arange(SIZE), domains=domains or Domains(("all",), torch.zeros(SIZE)))
    spy = Spy(model=work.classifier)
    fits = Fits(spy, context.varied(folds=count), numbered, Memory())
    if domains is None:
        numbered = replace(numbered, labels=torch.arange(SIZE) % 2)  # classes to be even over
        fits = Fits(spy, context.varied(folds=count), numbered, Memory())
        parts = fits.apart("spy")
        rows = [set(p.rows.tolist()) for p in parts]
    else:
        parts = fits.apart("spy")
        rows = [set(p.rows.tolist()) for p in parts]
        whole, *trained = spy.seen
        assert whole == set(range(SIZE)), "first on all of it, for what it chooses"
        for seen, judging in zip(trained, rows, strict=True):
            assert not seen & judging
            assert seen | judging == set(range(SIZE))
            assert not {n % 3 for n in seen} & {n % 3 for n in judging}, "a domain that was not trained on"
    assert sorted(n for judging in rows for n in judging) == list(range(SIZE))
    assert len(parts) == count


def test_a_method_that_does_not_train_on_it_is_judged_as_it_is(fits):
    judged = fits.judged("ft")
    (whole,) = fits.apart("ft")
    assert whole.model is fits.model("ft")
    assert len(judged.correct) == 100
    assert judged.accuracy == pytest.approx(float(judged.correct.float().mean()))


def test_fits_on_folds_are_kept_and_fixed_to_what_was_chosen(few, short):
    shelf = Memory()
    fits = fits_of(few, short, shelf)
    judged = fits.judged("linear_probe_ood_val")
    assert len(judged.correct) == 100
    folds = [f"linear_probe_ood_val.fold{i}" for i in range(2)]
    assert set(folds) < set(shelf.kept)
    assert shelf.kept["linear_probe_ood_val"].chosen.keys() == {"weight", "inverse_penalty"}
    assert all(shelf.kept[name].chosen == {} for name in folds), "nothing is chosen again"
    again = fits_of(few, short, shelf).judged("linear_probe_ood_val")
    assert torch.equal(judged.predictions, again.predictions)


@pytest.mark.parametrize(
    ("objective", "trains"),
    [
        (Objective({"ce": 1.0}, 1e-3, 0.1), False),
        (Objective({"ce": 1.0}, 1e-3, 0.1, sources={"ood_val": 0.5}), True),
        (Objective({"ce": 1.0}, 1e-3, 0.1, sources={"ood_val": 0.0}), False),
        (Objective({"ce": 1.0}, 1e-3, 0.1, head="linear_probe_ood_val"), True),
        (Objective({"ce": 1.0}, 1e-3, 0.1, head="linear_probe"), False),
    ],
)
def test_a_learned_objective_trains_on_ood_val_where_it_says_so(short, objective, trains):
    settings = short.varied(learned=objective).settings
    assert METHODS["autoft"].fits_ood_val(settings) is trains
    assert METHODS["autoft_wise"].fits_ood_val(settings) is trains


def test_what_cannot_be_split_cannot_judge(work, short):
    tiny = replace(work, splits=replace(work.splits, ood_val=work.splits.ood_val.subset(torch.arange(3))))
    assert fits_of(tiny, short).judged("linear_probe_ood_val") is None
    assert fits_of(tiny, short).judged("zero_shot") is not None


def test_the_best_by_ood_val_is_judged_as_what_it_chose(few, short):
    fits = fits_of(few, short.varied(plain_methods=("zero_shot", "linear_probe_ood_val")))
    chosen = fits("best_by_ood_val").chosen["method"]
    scores = {name: fits.judged(name).accuracy for name in ("zero_shot", "linear_probe_ood_val")}
    assert scores[chosen] == max(scores.values())
    assert torch.equal(fits.judged("best_by_ood_val").correct, fits.judged(chosen).correct)
