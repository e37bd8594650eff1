"""What is fitted for a workspace: the methods its data can serve, and the beginning of a learned objective."""

from __future__ import annotations

from metaft import config
from metaft.build.fits import fits, head_in_fold, methods
from metaft.build.workspace import workspace


def test_without_a_labelled_half_there_is_no_oracle(picture_tree):
    work = workspace(config.load(None, ["data.format=folder", f"data.root={picture_tree}"]))
    assert "oracle" not in methods(work)
    assert {"ft_ood_val", "dfr"} <= set(methods(work))


def test_the_head_that_a_search_begins_with_is_fitted_once(work):
    begun = fits(work)
    first, second = (head_in_fold(begun, None, "linear_probe") for _ in range(2))
    assert first["head.weight"].data_ptr() == second["head.weight"].data_ptr()
    assert head_in_fold(begun, None, "zero_shot") == {}
