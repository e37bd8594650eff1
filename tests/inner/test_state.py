"""States as rows of tensors: there and back, changed, cut off from graphs."""

from __future__ import annotations

import torch

from metaft.inner.state import InnerState, Tree


def numbers(n: int, start: float = 0.0) -> tuple[torch.Tensor, ...]:
    return tuple(torch.full((2,), start + i) for i in range(n))


def test_an_inner_state_is_its_row():
    state = InnerState(numbers(2), numbers(2, 10.0), numbers(2, 20.0), 5, numbers(3, 30.0))
    assert [float(t[0]) for t in state.tensors] == [0, 1, 10, 11, 20, 21, 30, 31, 32]
    again = state.replaced(state.tensors)
    assert again == state
    doubled = state.map(lambda t: 2 * t)
    assert [float(t[0]) for t in doubled.extra] == [60, 62, 64]
    assert doubled.step == 5


def test_a_tree_keeps_what_is_no_real_tensor():
    count, weight = torch.tensor([3]), torch.ones(2, requires_grad=True)
    nested = {"net": [weight, (torch.zeros(1), "relu")], "step": 7, "seen": count, "none": None}
    tree = Tree.of(nested)
    assert len(tree.tensors) == len(tree.params) == 2
    back = tree.map(lambda t: t + 1).nested
    assert back["net"][0].tolist() == [2, 2]
    assert back["net"][1] == (torch.ones(1), "relu")
    assert (back["step"], back["none"]) == (7, None)
    assert back["seen"] is count
    assert Tree.of(tree.nested).tensors == tree.tensors


def test_leaves_share_memory_and_no_graph():
    weight = torch.ones(2, requires_grad=True)
    grown = 2 * weight
    (leaf,) = Tree.of([grown]).leaves().tensors
    assert leaf.is_leaf
    assert leaf.requires_grad
    assert leaf.data_ptr() == grown.data_ptr()
