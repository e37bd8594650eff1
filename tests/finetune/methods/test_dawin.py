"""dawin: the mix from entropies, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from metaft.clip.predict import predict
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.dawin import expertise
from metaft.finetune.methods.wise_ft import interpolate
from tests.finetune.states import same


def test_shares():
    h0, h1 = torch.tensor([0.2, 1.5, 1.0]), torch.tensor([0.7, 0.1, 1.0])
    torch.testing.assert_close(expertise(h0, h1), (-h1).exp() / ((-h0).exp() + (-h1).exp()))


def test_the_mix_is_the_mean_share_on_ood_val(work, data, context, tuned):
    models = {"zero_shot": work.classifier, "ft": tuned}
    given = replace(context, fitted=models.get, chosen={})
    model = METHODS["dawin"].fit(work.classifier, data, given)

    def entropies(of):
        z, y = predict(of, data.id_val, 200).double().numpy(), data.id_val.labels.numpy()
        loss = lambda s: -log_softmax(z / np.exp(s), axis=1)[np.arange(len(y)), y].mean()  # noqa: E731
        s = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}).x
        return entropy(softmax(predict(of, data.ood_val, 200).double().numpy() / np.exp(s), axis=1), axis=1)

    h0, h1 = (np.exp(-entropies(of)) for of in models.values())
    alpha = (h1 / (h0 + h1)).mean()
    assert given.chosen == {"alpha": pytest.approx(alpha, abs=1e-5)}
    assert same(model, interpolate(work.classifier, tuned, given.chosen["alpha"]))


def test_a_mix_can_be_set(work, data, context, tuned):
    models = {"zero_shot": work.classifier, "ft": tuned}
    fixed = replace(context.with_knobs("dawin", {"alpha": 0.25}), fitted=models.get, chosen={})
    assert same(METHODS["dawin"].fit(work.classifier, data, fixed), interpolate(work.classifier, tuned, 0.25))
    assert fixed.chosen == {}
