"""lipsum_ft: its term by hand, and the form of its random texts."""

from __future__ import annotations

import pytest
import torch

from metaft.finetune.methods import METHODS, lipsum_ft
from metaft.finetune.methods.lipsum_ft import energy_gap, random_texts
from tests.finetune.own import agree
from tests.finetune.states import brief, close, descended


def test_its_steps_are_those_of_torch(work, context):
    texts = torch.nn.functional.normalize(torch.randn(5, 64, dtype=torch.float64), dim=1)

    def by_hand(out, first, batch, model, step):
        v, v0 = (o.logit_scale * o.image_features @ texts.T for o in (out, first))
        return sum((a - b) @ (a - b) for a, b in zip(v, v0, strict=True)) / len(v) / (2 * 5)

    agree(work, context, lambda seen: energy_gap(seen, texts), by_hand)


def test_each_step_of_its_fit_has_texts_of_its_own(work, data, context, monkeypatch):
    few, made = brief(context), []
    monkeypatch.setattr(lipsum_ft, "random_texts", lambda *given: made.append(random_texts(*given)) or made[-1])
    knobs = {"texts": 5, "tokens": 4, "weight": 30.0}
    fitted = METHODS["lipsum_ft"].fit(work.classifier, data, few.with_knobs("lipsum_ft", knobs))

    def loss(out, first, batch, model, step):
        with torch.no_grad():
            features = work.classifier.clip.encode_text(made[step], normalize=True)
        moved = first.logit_scale * (out.image_features - first.image_features) @ features.T
        return torch.nn.functional.cross_entropy(out.logits, batch.labels) + 30.0 * moved.square().mean() / 2

    assert [len(texts) for texts in made] == [5] * 3
    assert len({tuple(text) for texts in made for text in texts.tolist()}) == 15
    close(fitted, descended(loss, work.classifier, data, few))


@pytest.mark.parametrize(("length", "had"), [(8, 8), (40, 14)])
def test_random_texts_have_the_form_of_captions(work, length, had):
    texts = random_texts(work.tokens, 6, length, torch.Generator().manual_seed(0))
    assert texts.shape == (6, work.tokens.shape[2])
    assert (texts[:, 0] == 49406).all()
    assert (texts[:, had + 1] == 49407).all()
    assert (texts[:, 1 : had + 1] < 49406).all()
    assert (texts[:, had + 2 :] == 0).all()
    assert len({tuple(text) for text in texts.tolist()}) == 6
    again = random_texts(work.tokens, 6, length, torch.Generator().manual_seed(0))
    assert torch.equal(texts, again)
