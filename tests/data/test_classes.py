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


def test_alike_names_of_a_published_set_are_told_apart_by_their_labels(capsys):
    """Captions have them as they are given away."""
    given = ("lowland paca", "cat", "", "Lowland  paca", "cat\u200b")
    with pytest.raises(DataError, match="allowed: a name of its own for each class"):
        Classes(given, ("a {}.",)).refuse_alike()
    classes = Classes.published(given, ("a {}.",), ())
    classes.refuse_alike()
    assert classes.names == ("lowland paca", "cat", "class 2", "Lowland  paca (3)", "cat\u200b (4)")
    assert classes.spoken == given
    (line,) = capsys.readouterr().err.splitlines()
    for said in ("class 2 has no name", "class 3 is 'Lowland  paca', as class 0 is", "as class 1 is: as they"):
        assert said in line


def test_names_of_a_published_set_that_differ_are_no_news(capsys):
    classes = Classes.published(("cat", "dog"), ("a {}.",), ())
    assert classes.names == classes.spoken == ("cat", "dog")
    assert not capsys.readouterr().err
