"""Names of hyperparameters: taken apart and written again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaft.names import Name, value_for

WORDS = st.text(st.characters(exclude_characters=".@", exclude_categories=["Cs"]), min_size=1, max_size=12)
GROUPS = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
NAMES = st.builds(Name, WORDS, st.none() | GROUPS, st.none() | WORDS)


@given(NAMES)
def test_written_and_read_it_is_the_same(name):
    assert Name.parse(str(name)) == name
    assert str(Name.parse(str(name))) == str(name)


@given(NAMES)
def test_the_ungrouped_name_is_the_written_one_up_to_the_group(name):
    assert name.ungrouped == str(name).partition("@")[0]
    assert Name.parse(name.ungrouped) == Name(name.base, None, name.method)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kd", Name("kd")),
        ("lr@head", Name("lr", "head")),
        ("l2init@block.11.attn", Name("l2init", "block.11.attn")),
        ("ftp.kappa", Name("kappa", method="ftp")),
        ("ftp.speed@block.0.mlp", Name("speed", "block.0.mlp", "ftp")),
    ],
)
def test_parts(text, name):
    assert Name.parse(text) == name


@pytest.mark.parametrize(
    ("text", "is_knob", "of_optimizer"),
    [
        ("lr", False, True),
        ("wd@block.0.attn", False, True),
        ("kd", False, False),
        ("ftp.kappa", True, False),
        ("ftp.lr", True, False),
    ],
)
def test_what_a_name_is_of(text, is_knob, of_optimizer):
    name = Name.parse(text)
    assert (name.is_knob, name.of_optimizer) == (is_knob, of_optimizer)


def test_a_groups_value_goes_before_that_of_all():
    values = {"lr": 1.0, "lr@head": 2.0, "wd@block.0.attn": 0.0}
    assert value_for(values, "lr", "head") == 2.0
    assert value_for(values, "lr", "block.0.attn") == 1.0
    assert value_for(values, "wd", "block.0.attn") == 0.0
    with pytest.raises(KeyError, match="wd"):
        value_for(values, "wd", "head")
