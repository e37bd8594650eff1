"""layer_decay: torch's AdamW with a learning rate for each layer."""

from __future__ import annotations

from metaft.clip.classifier import trainable
from metaft.finetune.methods import METHODS
from metaft.hooks.layer_decay import layers_below
from tests.finetune.states import by_hand, close, same


def test_it_is_torch_with_a_rate_for_each_layer(work, data, context):
    names = trainable(work.classifier, text=False, freeze=())
    rates = {name: 1e-3 * 0.7**k for name, k in zip(names, layers_below(names), strict=True)}
    assert len(set(rates.values())) > 3
    model = METHODS["layer_decay"].fit(work.classifier, data, context.with_knobs("layer_decay", {"ratio": 0.7}))
    close(model, by_hand(work.classifier, rates, data, context))


def test_at_ratio_1_it_is_plain_fine_tuning(work, data, context, tuned):
    assert same(
        METHODS["layer_decay"].fit(work.classifier, data, context.with_knobs("layer_decay", {"ratio": 1.0})), tuned
    )
