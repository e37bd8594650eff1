"""The sections: frozen, and no combination that cannot be."""

from __future__ import annotations

import pytest

from metaft import config
from metaft.errors import ConfigError


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.load().seed = 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["search.seconds=null", "search.step_equivalents=null"], "nothing ends the search"),
        (["objective.fixed={dcm: 1.0}"], "both name dcm"),
    ],
)
def test_impossible_combinations(overrides, words):
    with pytest.raises(ConfigError) as caught:
        config.load(None, overrides)
    assert any(words in str(fault) for fault in caught.value.faults)
