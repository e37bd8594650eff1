"""What is fitted for a workspace: the methods its data can serve, and the beginning of a learned objective."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaft import config
from metaft.build.comparison import Comparison
from metaft.build.fits import choice, curve, fit_settings, fits, head_in_fold, methods, scored
from metaft.build.workspace import workspace
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import ALPHAS
from metaft.pipeline import blank
from tests.conftest import SMALL


def test_without_a_labelled_half_there_is_no_oracle(picture_tree):
    work = workspace(config.load(None, ["data.format=folder", f"data.root={picture_tree}"]))
    assert "oracle" not in methods(work)
    assert {"ft_ood_val", "dfr"} <= set(methods(work))


def test_the_head_that_a_search_begins_with_is_fitted_once(work):
    begun = fits(work)
    first, second = (head_in_fold(begun, None, "linear_probe") for _ in range(2))
    assert first["head.weight"].data_ptr() == second["head.weight"].data_ptr()
    assert head_in_fold(begun, None, "zero_shot") == {}


@pytest.mark.full
def test_the_whole_way_on_the_tests_is_for_the_eye_alone(work):
    """Other tests have another curve, and leave the share that is chosen, and all that was said of it, as they were."""

    def made(work):
        events = []
        fitted = fits(work, FitContext(fit_settings(work), log=events.append))
        chosen = fitted("wise_ft").chosen
        return chosen, events, curve(work, fitted), fitted

    none = {name: replace(split, labels=(split.labels + 1) % 10) for name, split in work.splits.tests.items()}
    others = replace(work, splits=replace(work.splits, tests=none))
    (chosen, events, way, fitted), (again, told, other, _) = made(work), made(others)
    assert (chosen, events) == (again, told)
    assert way != other
    assert [mix["alpha"] for mix in way] == list(ALPHAS)
    scores = {name: scored(work, fitted.model(name)) for name in ("zero_shot", "ft", "wise_ft")}
    for name, alpha in (("zero_shot", 0.0), ("ft", 1.0), ("wise_ft", chosen["alpha"])):
        (mix,) = (mix for mix in way if mix["alpha"] == alpha)
        assert mix["accuracy"] == {split: score.metrics["accuracy"] for split, score in scores[name].items()}


@pytest.mark.full
def test_the_whole_way_is_measured_where_it_is_asked_for(work):
    fitted = fits(work)
    for shown, expected in ((True, curve(work, fitted)), (False, None)):
        asked = replace(work, cfg=config.load(None, [*SMALL, f"evaluation.curve={str(shown).lower()}"]))
        assert Comparison.of(asked, fitted, lambda _: None).row("wise_ft").curve == expected


@pytest.mark.full
def test_what_trains_on_labels_that_may_only_judge_is_not_handed_back(work):
    """`ft_ood_val` and `dfr` are compared all the same, and handed back where the settings name them."""
    rivals = ["zero_shot", "ft", "ft_ood_val", "dfr"]
    kept = {}
    for words in (("judge",), ("auto",), ("judge", "finetune.method=dfr")):
        settings = [*SMALL, f"search.use_ood_labels={words[0]}", *words[1:]]
        other = replace(work, cfg=config.load(None, settings))
        results = replace(blank(other), scores={name: {} for name in rivals})
        kept[words] = choice(other, fits(other), results).method
    assert kept["judge",] in ("zero_shot", "ft")
    assert kept["auto",] in ("ft_ood_val", "dfr")
    assert kept["judge", "finetune.method=dfr"] == "dfr"
