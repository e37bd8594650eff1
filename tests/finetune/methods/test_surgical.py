"""surgical: torch's AdamW on a third of the layers."""

from __future__ import annotations

import pytest

from metaft.clip.classifier import trainable
from metaft.finetune.methods import METHODS
from metaft.hooks.surgical import PARTS, parts_of
from tests.conftest import by_default
from tests.finetune.states import by_hand, close, moved


@pytest.mark.parametrize("part", by_default(("first",), PARTS))
def test_a_third_is_torch_on_these_layers(work, data, context, part):
    names = trainable(work.classifier, text=False, freeze=())
    chosen = [name for name, own in zip(names, parts_of(names), strict=True) if own == part]
    model = METHODS["surgical"].fit(work.classifier, data, context.with_knobs("surgical", {"part": part}))
    assert moved(model, work.classifier) == set(chosen)
    close(model, by_hand(work.classifier, dict.fromkeys(chosen, 1e-3), data, context))
