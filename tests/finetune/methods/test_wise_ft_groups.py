"""wise_ft_groups: a mix for each group, no worse by validation than the best common one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.clip.classifier import group_of
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.wise_ft import interpolate
from metaft.finetune.methods.wise_ft_groups import ALPHAS, mixed
from metaft.finetune.validation import validate
from tests.finetune.states import same


def test_mixes(work, tuned):
    begin, groups = work.classifier, {group_of(name) for name, _ in tuned.named_parameters()}
    common = mixed(begin, tuned, dict.fromkeys(groups, 0.25))
    assert same(common, interpolate(begin, tuned, 0.25))
    parts = dict(mixed(begin, tuned, {**dict.fromkeys(groups, 1.0), "stem": 0.0, "head": 0.5}).named_parameters())
    first, last = dict(begin.named_parameters()), dict(tuned.named_parameters())
    for name, p in parts.items():
        expected = {"stem": first[name], "head": (first[name] + last[name]) / 2}.get(group_of(name), last[name])
        torch.testing.assert_close(p, expected)


@pytest.mark.full
def test_it_is_no_worse_than_any_common_mix(few, context, tuned):
    data, events = few.splits.search_data, list[dict]()
    models = {"zero_shot": few.classifier, "ft": tuned}
    model = METHODS["wise_ft_groups"].fit(
        few.classifier, data, replace(context, fitted=models.get, log=events.append, chosen={})
    )
    common = [validate(interpolate(few.classifier, tuned, alpha), data, context) for alpha in ALPHAS]
    found = validate(model, data, context)
    assert found >= max(common)
    assert found == pytest.approx(max((e["ood_val_accuracy"], e["id_val_accuracy"]) for e in events))
    groups = {group_of(name) for name, p in tuned.named_parameters() if group_of(name) != "text"}
    assert set(events[-1]["alpha"]) == groups
    assert len(events) == len(ALPHAS) + len(groups) * (len(ALPHAS) - 1)
