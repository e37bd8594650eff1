"""car_ft: its term by hand, and the contexts that it needs."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.car_ft import context_directions, divergence
from tests.finetune.own import agree


@pytest.fixture(scope="module")
def contexts(work):
    return context_directions(work.classifier, work.tokens)


def test_a_context_is_a_template_over_all_classes(work, contexts):
    with torch.no_grad():
        second = torch.stack([work.clip.model.encode_text(t, normalize=True)[1] for t in work.tokens]).mean(dim=0)
    torch.testing.assert_close(contexts[1], second / second.norm())
    assert len(contexts) == len(work.splits.classes.templates)


def test_its_steps_are_those_of_torch(work, context, contexts):
    def by_hand(out, first, batch, model, step):
        t = out.logit_scale
        q, q0 = ((t * o.image_features @ contexts.double().T).softmax(1) for o in (out, first))
        return sum((q0[i] * (q0[i] / q[i]).log()).sum() for i in range(len(q))) / len(q)

    agree(work, context, lambda seen: divergence(seen, contexts), by_hand)


def test_one_template_tells_no_contexts_apart(work, data, short):
    with pytest.raises(ConfigError, match=r"data\.templates: one template, and 'car_ft' tells contexts apart"):
        METHODS["car_ft"].fit(work.classifier, data, short.varied(tokens=work.tokens[:, :1]))
