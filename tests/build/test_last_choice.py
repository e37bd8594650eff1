"""The last choice of a search: by fine-tunes at full length, against the same computed another way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from metaft import config
from metaft.build import last_choice
from metaft.build.fits import fit_settings
from metaft.build.fits import fits as fits_of
from metaft.build.last_choice import BOTH, END, settled
from metaft.build.workspace import workspace
from metaft.finetune.context import FitContext
from metaft.finetune.methods.ft_ood_val import both
from metaft.finetune.methods.wise_ft import ALPHAS, Rated, Way, interpolate
from metaft.objective import Objective
from metaft.results import LastChoice
from tests.conftest import SMALL
from tests.finetune.states import same, with_finetune

TRAINS = (
    *("search.use_ood_labels=auto", "objective.mix=true", "objective.head=auto", "data.options.ood_val=100"),
    *("evaluation.methods=[ft, ft_ood_val, autoft]", "search.id_drop_max=0.03"),
)
FOUND = Objective({"ce": 1.0}, 1e-3, 0.1, sources={"ood_val": 1.0}, head="linear_probe", alpha=0.4)
FIXED = {BOTH: {"weight": 2.0, "lr_factor": 0.5}}


@pytest.fixture(scope="module")
def both_work():
    """A workspace whose search trains on ood_val, mixes, and compares with plain fine-tuning on all labels."""
    return workspace(config.load(None, [*SMALL, *TRAINS]))


def fits_in(work, events=None, **knobs):
    """Fits of eight steps, with the knobs of ft_ood_val given."""
    log = (lambda event: None) if events is None else events.append
    context = replace(FitContext(fit_settings(work)).varied(steps=8, checks=1), log=log)
    return fits_of(work, with_finetune(context, knobs={**FIXED, **knobs}))


def cooled(logits, labels):
    """The least mean cross-entropy over temperatures."""
    return min(float(F.cross_entropy(logits / 2**s, labels)) for s in torch.linspace(-5, 5, 2001))


def by_hand(work, fits, begin, end, share):
    """Half of accuracy and half of the loss over the folds, less twice what ID surely lacks beyond 0.03."""

    def logits(split, first, last):
        with torch.no_grad():
            return interpolate(first, last, share)(split.batch(torch.arange(len(split)), "cpu").images).logits

    ood_val, zero = work.splits.ood_val, fits.model("zero_shot")
    begins = [part.model for part in fits.apart(begin)]
    ends = list(enumerate(fits.apart(end)))
    z = torch.cat([logits(part.judging, begins[i % len(begins)], part.model) for i, part in ends])
    y = torch.cat([part.judging.labels for _, part in ends])
    z_0 = logits(ood_val, zero, zero)
    by_loss = (
        float((z_0.argmax(1) == ood_val.labels).double().mean()) + (cooled(z_0, ood_val.labels) - cooled(z, y)) / 2.5
    )
    id_val, ft = work.splits.id_val, fits.model("ft")
    of_ft, of_mix = (
        (logits(id_val, *ends).argmax(1) == id_val.labels).double()
        for ends in ((ft, ft), (fits.model(begin), fits.model(end)))
    )
    d = of_ft - of_mix
    lost = max(0.0, float(d.mean() - 2 * d.std() / len(d) ** 0.5) - 0.03)
    return (float((z.argmax(1) == y).double().mean()) + by_loss) / 2 - 2 * lost


@pytest.mark.full
def test_it_is_the_best_of_both_ways_by_folds_and_id(both_work):
    events: list[dict] = []
    fits = fits_in(both_work, events)
    kept, choice = settled(both_work, FOUND, fits)
    told = {(e["candidate"], e["alpha"]): e["worth"] for e in events if "candidate" in e}
    assert set(told) == {(name, alpha) for name in ("autoft", BOTH) for alpha in ALPHAS}
    learned = replace(fits, context=fits.context.varied(learned=FOUND)).aside(END, last_choice.FOUND)
    ways = {"autoft": ("linear_probe", "autoft_end", FOUND), BOTH: ("zero_shot", BOTH, both(FIXED[BOTH], fits.context))}
    for (name, alpha), worth in told.items():
        assert worth == pytest.approx(by_hand(both_work, learned, *ways[name][:2], alpha), abs=1e-3)
    name, alpha = max(told, key=lambda at: told[at])
    assert kept == replace(ways[name][2], alpha=alpha)
    best = {of: max(worth for (who, _), worth in told.items() if who == of) for of in ways}
    assert choice == LastChoice(name, alpha, best)
    assert [(e["candidate"], e["alpha"]) for e in events if e.get("chosen") and "candidate" in e] == [(name, alpha)]


@pytest.mark.full
def test_where_plain_fine_tuning_is_better_its_objective_is_taken_and_not_trained_again(both_work):
    """A found objective whose rate destroys the model loses; the fits are those that autoft would have trained."""
    fits = fits_in(both_work)
    kept, choice = settled(both_work, replace(FOUND, lr=0.1), fits)
    assert choice.method == BOTH
    assert choice.values[BOTH] > choice.values["autoft"]
    assert replace(kept, alpha=1.0) == both(FIXED[BOTH], fits.context)
    assert kept.head == "zero_shot"
    learned = replace(fits, context=fits.context.varied(learned=kept))
    assert learned.model("autoft_end") is fits.model(BOTH)
    assert settled(both_work, replace(FOUND, lr=0.1), fits) == (kept, choice), "a run that was stopped here goes on"
    afresh = fits_in(both_work)
    afresh = replace(afresh, context=afresh.context.varied(learned=kept))
    assert same(afresh.model("autoft_end"), fits.model(BOTH))
    assert same(afresh.model("autoft"), learned.model("autoft"))
    for one, other in zip(afresh.apart("autoft"), learned.apart("autoft"), strict=True):
        assert same(one.model, other.model)


def test_where_the_labels_tell_nothing_what_was_searched_stays(both_work, monkeypatch):
    """All shares of both ways are as good: not the smallest, which is barely enough, but the one next to the found."""
    monkeypatch.setattr(last_choice, "_worths", lambda work, fits, way: dict.fromkeys(ALPHAS, 1.0))
    kept, choice = settled(both_work, replace(FOUND, alpha=0.68), fits_in(both_work))
    assert (choice.method, choice.alpha) == ("autoft", 0.7)
    assert kept == replace(FOUND, alpha=0.7)


@pytest.mark.full
def test_one_that_diverges_loses(both_work, monkeypatch):
    fits = fits_in(both_work)
    kept, choice = settled(both_work, replace(FOUND, lr=1e6), fits)
    assert replace(kept, alpha=1.0) == both(FIXED[BOTH], fits.context)
    assert set(choice.values) == {BOTH}
    monkeypatch.setattr(last_choice, "trains", lambda work: False)
    destroyed = replace(FOUND, lr=1e6)
    assert settled(both_work, destroyed, fits_in(both_work)) == (destroyed, None)


@pytest.mark.full
def test_where_plain_fine_tuning_diverges_what_was_found_is_left(both_work):
    wild = replace(both_work, cfg=config.load(None, [*SMALL, *TRAINS, "finetune.lr=1e5"]))
    kept, choice = settled(wild, FOUND, fits_in(wild))
    assert replace(kept, alpha=FOUND.alpha) == FOUND
    assert set(choice.values) == {"autoft"}


def test_it_changes_nothing_where_no_share_is_searched(work):
    assert settled(work, FOUND, SimpleNamespace()) == (FOUND, None)


def test_it_changes_nothing_where_ood_val_cannot_judge(both_work):
    splits = replace(both_work.splits, ood_val=both_work.splits.ood_val.subset(torch.arange(3)))
    tiny = replace(both_work, splits=splits)
    assert settled(tiny, FOUND, fits_in(tiny)) == (FOUND, None)


@pytest.mark.parametrize("word", ["objective.fixed={ce: 1, alpha: 0.4}", "search.outer_data=id_val"])
def test_it_changes_nothing_that_a_person_has_settled(both_work, word):
    cfg = config.load(None, [*SMALL, *TRAINS, word])
    assert settled(replace(both_work, cfg=cfg), FOUND, SimpleNamespace()) == (FOUND, None)


@pytest.mark.full
def test_the_share_stays_in_its_range(both_work, monkeypatch):
    rising = {alpha: Rated(alpha, 0.5, alpha) for alpha in ALPHAS}
    monkeypatch.setattr(Way, "rated", lambda self, data, context: rising)
    kept = {}
    for low, high in ((0.0, 1.0), (0.15, 0.55), (0.41, 0.49)):
        cfg = config.load(None, [*SMALL, *TRAINS, f"objective.bounds={{alpha: [{low}, {high}]}}"])
        kept[high], _ = settled(replace(both_work, cfg=cfg), FOUND, fits_in(both_work))
    assert [kept[high].alpha for high in (1.0, 0.55, 0.49)] == [1.0, 0.5, FOUND.alpha]
