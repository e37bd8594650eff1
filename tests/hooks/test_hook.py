"""The hook that changes nothing."""

from __future__ import annotations

from metaft.hooks.hook import PLAIN
from tests.hooks.rows import tensors


def test_plain_changes_nothing():
    a, g, v = tensors(0), tensors(1), tensors(2)
    assert PLAIN.before(g, v, a, (), {})[0] is g
    assert PLAIN.after(v, a, (), {})[0] is v
    assert PLAIN.result(v, ()) is v
