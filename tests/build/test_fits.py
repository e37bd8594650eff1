"""What is fitted for a workspace: the methods its data can serve, and the beginning of a learned objective."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaft import config
from metaft.build.fits import choice, fits, head_in_fold, methods
from metaft.build.workspace import workspace
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
