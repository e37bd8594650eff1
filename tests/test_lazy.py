"""Functions by their place: imported when called, equal when of one place."""

from __future__ import annotations

import sys

import pytest

from metaft.lazy import Lazy


def test_nothing_is_imported_before_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "made_for_lazy.py").write_text(
        "class Box:\n    @staticmethod\n    def sum(a, b=0):\n        return a + b\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    lazy = Lazy("made_for_lazy:Box.sum")
    assert "made_for_lazy" not in sys.modules
    assert lazy(1, b=2) == 3
    monkeypatch.delitem(sys.modules, "made_for_lazy")


def test_its_target_is_what_stands_there():
    assert Lazy("pathlib:Path").target is __import__("pathlib").Path
    assert Lazy("a:b") == Lazy("a:b") != Lazy("a:c")
    with pytest.raises(AttributeError, match="nothing"):
        _ = Lazy("pathlib:nothing").target
