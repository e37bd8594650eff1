"""diff_pruning: how many entries are other than theta_0's."""

from __future__ import annotations

import pytest

from metaft.finetune.methods import METHODS


@pytest.mark.parametrize("per_mille", [5, 200])
def test_few_entries_move(work, data, context, per_mille):
    varied = context.with_knobs("diff_pruning", {"per_mille": per_mille})
    model = METHODS["diff_pruning"].fit(work.classifier, data, varied)
    moved = total = 0
    for name, p in model.named_parameters():
        if name.startswith("clip.visual."):
            moved += int((p != work.classifier.get_parameter(name)).sum())
            total += p.numel()
    assert 0.9 * per_mille < 1000 * moved / total < 1.001 * per_mille + 1
    assert (model.head.weight != work.classifier.head.weight).all()
