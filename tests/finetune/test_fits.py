"""Fits on folds: no image judges a model that was trained on it, what is chosen holds, and what is shared is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.clip.predict import predict
from metaft.errors import DivergedError
from metaft.finetune import loop
from metaft.finetune.methods import METHODS
from metaft.objective import Objective
from tests.conftest import by_default
from tests.finetune.states import Keeper, same, with_finetune
from tests.finetune.test_crossfit import with_domains

ALWAYS = ("linear_probe_ood_val", "wise_probe", "ft_ood_val", "dfr", "wise_ft_groups")
ON_OOD_VAL = (*ALWAYS, "autoft", "autoft_wise", "autoft_end", "tpgm")
FIXED = {
    "wise_probe": {"alpha": 0.5},
    "ft_ood_val": {"weight": 1.0, "lr_factor": 1.0},
    "linear_probe_ood_val": {"weight": 1.0, "inverse_penalty": 0.1},
    "dfr": {"inverse_penalty": 0.1},
    "autoft_wise": {"alpha": 0.5},
    "tpgm": {"on": "ood_val", "iterations": 10},
}


class Watched:
    """Images that note which of their numbers are asked for."""

    def __init__(self, source) -> None:
        self.source, self.seen = source, set()

    def pixels(self, indices):
        self.seen |= set(indices)
        return self.source.pixels(indices)


@pytest.mark.parametrize("domains", [None, 3], ids=["by image", "by domain"])
@pytest.mark.parametrize("name", by_default(("ft_ood_val", "wise_probe", "autoft"), ON_OOD_VAL))
@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.full)])
def test_no_image_judges_a_model_trained_on_it(few, short, name, domains, count):
    """All images of ood_val that a fit on a fold looks at, for whatever reason, are apart from those that judge it."""
    split = few.splits.ood_val if domains is None else with_domains(few.splits.ood_val, domains)
    watched = Watched(split.source)
    split = replace(split, source=watched)
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, sources={"ood_val": 3.0}, head="linear_probe_ood_val")
    context = with_finetune(short.varied(learned=learned, steps=4, checks=1, folds=count), knobs=FIXED)
    fits = fits_of(replace(few, splits=replace(few.splits, ood_val=split)), context)
    assert METHODS[name].fits_ood_val(context.settings)
    fits(name)
    trained_on = []
    for number in range(count):
        watched.seen = set()
        replace(fits, fold=number)(name)
        trained_on.append(watched.seen)
    parts = fits.apart(name)
    assert len(parts) == count
    judging = [set(part.rows.tolist()) for part in parts]
    assert set.union(*judging) == set(range(len(split)))
    for seen, judges, part in zip(trained_on, judging, parts, strict=True):
        assert seen, "it was trained on some"
        assert not seen & judges
        assert torch.equal(part.judging.labels, split.labels[part.rows])
        if domains is not None:
            apart = set(split.domains.numbers[part.rows].tolist())
            assert not apart & set(split.domains.numbers[sorted(seen)].tolist())


@pytest.mark.parametrize("name", METHODS)
def test_who_trains_on_ood_val(work, short, name):
    """A method does iff other labels of ood_val change its model, its choices fixed."""
    plain = Objective({"ce": 1.0}, 1e-3, 0.1)
    context = with_finetune(short.varied(learned=plain), knobs={"tpgm": {"on": "id_val"}})
    assert METHODS[name].fits_ood_val(context.settings) == (name in ALWAYS)
    for learned in (replace(plain, sources={"ood_val": 0.1}), replace(plain, head="linear_probe_ood_val")):
        on_both = context.varied(learned=learned)
        also = (*ALWAYS, "autoft", "autoft_wise", "autoft_end")
        assert METHODS[name].fits_ood_val(on_both.settings) == (name in also)
    later = replace(plain, schedule=((0.5, replace(plain, sources={"ood_val": 1.0})),))
    assert METHODS["autoft"].fits_ood_val(context.varied(learned=later).settings)
    assert not METHODS["autoft"].fits_ood_val(context.varied(learned=replace(plain, sources={"ood_val": 0.0})).settings)


def test_a_method_that_does_not_train_on_it_has_one_model(few, fits):
    for name in ("zero_shot", "ft", "wise_ft", "linear_probe"):
        (part,) = fits.apart(name)
        assert part.model is fits.model(name)
        said = predict(part.model, few.splits.ood_val, 200).argmax(1)
        judged = fits.judged(name)
        assert torch.equal(judged.predictions, said)
        assert judged.accuracy == float((said == few.splits.ood_val.labels).double().mean())
    assert "ft.fold0" not in fits.store.kept


@pytest.mark.full
def test_folds_hold_what_was_chosen_and_share_what_is_shared(few, short):
    events: list[dict] = []
    fits = fits_of(few, replace(short, log=events.append))
    chosen = fits("ft_ood_val").chosen
    events.clear()
    assert len(fits.apart("ft_ood_val")) == 2
    assert {e["method"] for e in events} == {"ft_ood_val.fold0", "ft_ood_val.fold1"}
    assert not any("weight" in e for e in events), "nothing is chosen in a fold"
    assert fits.store.kept["ft_ood_val.fold0"].chosen == {}
    again = fits_of(few, short, fits.store).judged("ft_ood_val")
    assert torch.equal(again.predictions, fits.judged("ft_ood_val").predictions)
    on_part = METHODS["ft_ood_val"].fit(
        few.classifier,
        replace(few.splits.search_data, ood_val=few.splits.ood_val.subset(short.rows_by_fold(fits.ood_val)[0][0])),
        short.with_knobs("ft_ood_val", chosen),
    )
    assert same(fits.apart("ft_ood_val")[0].model, on_part)
    fits.apart("dfr")
    assert {"dfr.fold0", "dfr.fold1"} <= set(fits.store.kept)
    assert "ft.fold0" not in fits.store.kept


def test_costs_count_what_is_shared_once(fits):
    ft, wise, own = fits("ft"), fits("wise_ft"), fits("wise_ft").costs["wise_ft"]
    assert set(wise.costs) == {"zero_shot", "ft", "wise_ft"}
    assert wise.cost.step_equivalents == ft.cost.step_equivalents + own.step_equivalents
    assert own.seconds < wise.cost.seconds


def test_ood_val_that_cannot_be_split_judges_what_is_not_trained_on_it(few, short):
    tiny = replace(few, splits=replace(few.splits, ood_val=few.splits.ood_val.subset(torch.arange(3))))
    fits = fits_of(tiny, with_finetune(short, knobs=FIXED))
    assert fits.judged("ft_ood_val") is None
    assert len(fits.judged("zero_shot").correct) == 3


def test_a_fold_that_diverges_judges_nothing(few, short, monkeypatch):
    fits = fits_of(few, with_finetune(short, knobs=FIXED))
    fits("ft_ood_val")

    def diverge(*_):
        raise DivergedError("ft_ood_val: diverged")

    monkeypatch.setattr(loop.Watch, "sound", diverge)
    assert fits.judged("ft_ood_val") is None


@pytest.mark.full
def test_a_fold_is_resumed(few, short):
    """Its state goes by its own name, so that neither the whole fit's nor another fold's is taken for it."""
    keeper = Keeper(stop=True)
    context = with_finetune(short, knobs=FIXED)
    fits = fits_of(few, replace(context, keeper=keeper))
    whole = fits_of(few, context)
    interruptions = 0
    while True:
        try:
            parts = fits.apart("ft_ood_val")
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions == 3
    trainings = {"ft_ood_val", "ft_ood_val.fold0", "ft_ood_val.fold1"}
    assert set(keeper.states) == trainings | {f"{name}.best20" for name in trainings}
    for one, other in zip(parts, whole.apart("ft_ood_val"), strict=True):
        assert same(one.model, other.model)


@pytest.mark.full
def test_a_fit_is_shared_under_a_second_name_with_its_folds(few, short):
    fits = fits_of(few, with_finetune(short, knobs=FIXED))
    fits.apart("ft_ood_val")
    fits.share("ft_ood_val", "autoft_end")
    for label in ("ft_ood_val", "ft_ood_val.fold0", "ft_ood_val.fold1"):
        kept, shared = fits.store.kept.get(label), fits.store.kept.get(label.replace("ft_ood_val", "autoft_end"))
        assert kept is not None
        assert shared.model is kept.model
        assert shared.costs == kept.costs


@pytest.mark.full
def test_fits_are_kept_aside_with_their_trainings(few, short):
    keeper = Keeper(stop=False)
    fits = fits_of(few, replace(with_finetune(short, knobs=FIXED), keeper=keeper))
    aside = fits.aside("ft_ood_val", "other")
    aside.apart("ft_ood_val")
    aside.model("ft")
    assert set(fits.store.kept) == {"other", "other.fold0", "other.fold1", "ft"}
    assert {name.partition(".")[0] for name in keeper.states} == {"other", "ft"}
