"""Classes have names that can be written one a line."""

from __future__ import annotations

import pytest

from metaft.data.classes import Classes
from metaft.errors import DataError


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "a\u2028b", "a\x85b", "a\x0cb", "a\0b", "\ud800", "caf\udce9"], ids=ascii
)
def test_a_name_that_breaks_its_line_is_refused_with_its_folder(name):
    with pytest.raises(DataError, match="allowed: plain text in UTF-8") as caught:
        Classes(("dog", name), ("a {}.",), ("n01", "n02"))
    assert "of the folder 'n02'" in str(caught.value)
    assert str(caught.value).isprintable()


def test_other_names_stay_as_they_are():
    names = ("dog", "caf\u00e9 au lait", "\u72ac", "a = b", "\u200d")
    assert Classes(names, ("a {}.",)).names == names
