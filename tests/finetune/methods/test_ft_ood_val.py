"""ft_ood_val: the labels of ood_val are used, in no more steps; its knobs are chosen, or set."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.clip.predict import predict
from metaft.errors import DivergedError
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS, ft_ood_val
from metaft.finetune.methods.ft_ood_val import DIVERGED, GRID, UNJUDGED
from metaft.objective import Objective
from tests.finetune.states import Keeper, same

NAME = "ft_ood_val"
SET = {"weight": 3.0, "lr_factor": 0.5}


@pytest.fixture
def logged(short):
    """A context of few steps that begins without choices, and the events it logs."""
    events: list[dict] = []
    return replace(short, log=events.append, chosen={}), events


def test_it_is_cross_entropy_on_both(work, data, logged):
    context, _ = logged
    model = METHODS[NAME].fit(work.classifier, data, context.with_knobs(NAME, SET))
    by_hand = train(work.classifier, Objective({"ce": 1.0}, 5e-4, 0.1, sources={"ood_val": 3.0}), data, context, "x")
    assert same(model, by_hand)
    assert context.chosen == {}


def test_it_learns_from_ood_val_in_as_many_steps(work, data, logged):
    context, events = logged
    model = METHODS[NAME].fit(
        work.classifier, data, context.varied(steps=40).with_knobs(NAME, {**SET, "lr_factor": 1.0})
    )

    def score(classifier):
        return float((predict(classifier, data.ood_val, 200).argmax(1) == data.ood_val.labels).double().mean())

    assert score(model) > score(work.classifier) + 0.1
    METHODS["ft"].fit(work.classifier, data, context.varied(steps=40))
    assert {e["step"] for e in events if e["method"] == NAME} == {e["step"] for e in events if e["method"] == "ft"}


@pytest.mark.full
def test_its_knobs_are_chosen_by_cross_validation(work, data, logged):
    context, events = logged
    METHODS[NAME].fit(work.classifier, data, context)
    tried = [e for e in events if "weight" in e]
    assert len(tried) == len(GRID["weight"]) * len(GRID["lr_factor"])
    best = max(tried, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    assert context.chosen == {name: best[name] for name in GRID}


@pytest.mark.full
def test_a_set_knob_narrows_the_choice(work, data, logged):
    context, events = logged
    METHODS[NAME].fit(work.classifier, data, context.with_knobs(NAME, {"weight": 2.0}))
    assert [e["weight"] for e in events if "weight" in e] == [2.0] * len(GRID["lr_factor"])


def test_where_ood_val_cannot_be_split(work, data, logged):
    context, _ = logged
    tiny = replace(data, ood_val=data.ood_val.subset(torch.arange(3)))
    METHODS[NAME].fit(work.classifier, tiny, context)
    assert context.chosen == UNJUDGED


@pytest.mark.full
def test_values_that_diverge_are_passed_over(work, data, logged, monkeypatch):
    context, events = logged
    train = ft_ood_val.train

    def fragile(classifier, objective, *args, **kwargs):
        if objective.sources["ood_val"] > 0.3:
            raise DivergedError("ft_ood_val: diverged")
        return train(classifier, objective, *args, **kwargs)

    monkeypatch.setattr(ft_ood_val, "train", fragile)
    METHODS[NAME].fit(work.classifier, data, context)
    assert context.chosen["weight"] == 0.3
    assert [e["ood_val_accuracy"] for e in events if e.get("weight", 0) > 0.3] == [DIVERGED[0]] * 4


@pytest.mark.full
def test_an_interrupted_choice_is_resumed(few, short, fits):
    class Halting(Keeper):
        def save(self, name, state):
            super().save(name, state)
            if len(state.get("scores", [])) == 3 and self.stop:
                self.stop = False
                raise KeyboardInterrupt

    events: list[dict] = []
    keeper = Halting(stop=True)
    again = fits_of(few, replace(short, keeper=keeper, log=events.append))
    with pytest.raises(KeyboardInterrupt):
        again(NAME)
    fit = again(NAME)
    assert same(fit.model, fits.model(NAME))
    assert fit.chosen == fits(NAME).chosen
    assert len([e for e in events if "weight" in e]) == 6, "no value is tried twice"
    assert fit.cost.step_equivalents == pytest.approx(fits(NAME).cost.step_equivalents)
