"""model_stock: the point of a plane that is nearest to the centre, in the geometry of the paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.model_stock import centre, ratio, stock
from tests.finetune.states import brief, same


@pytest.mark.parametrize("k", [2, 3, 5])
def test_it_is_the_nearest_point_to_the_centre(k):
    """Members on a shell about mu, at right angles to each other and to theta_0: a least-squares fit finds the same."""
    generator = torch.Generator().manual_seed(k)
    axes = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))[0]
    mu = torch.randn(20, generator=generator, dtype=torch.float64)
    theta_0, members = mu + 3.0 * axes[0], [mu + 0.7 * axes[1 + i] for i in range(k)]
    spanned = torch.stack([m - theta_0 for m in members], dim=1)
    weights = torch.linalg.lstsq(spanned, (mu - theta_0)[:, None]).solution
    expected = theta_0 + (spanned @ weights)[:, 0]
    torch.testing.assert_close(centre(theta_0.view(4, 5), [m.view(4, 5) for m in members]).flatten(), expected)


def test_ratios():
    cosines = torch.tensor([1.0, 0.5, 0.0, -0.6], dtype=torch.float64)
    assert ratio(cosines, 2).tolist() == pytest.approx([1.0, 2 / 3, 0.0, 0.0])
    assert ratio(cosines, 3).tolist() == pytest.approx([1.0, 3 / 4, 0.0, 0.0])


def test_each_tensor_has_a_ratio_of_its_own(work, fits):
    start, models = work.classifier, [fits.model("ft"), fits.model("kd")]
    merged = dict(stock(start, models).named_parameters())
    shares = {}
    for name, p0 in start.named_parameters():
        a, b = (dict(m.named_parameters())[name].detach() - p0.detach() for m in models)
        if not a.any():
            assert torch.equal(merged[name], p0)
            continue
        cos = float((a * b).sum() / (a.norm() * b.norm()))
        t = shares[name] = max(0.0, 2 * cos / (1 + cos))
        torch.testing.assert_close(merged[name].detach() - p0.detach(), t * (a + b) / 2, rtol=1e-3, atol=1e-6)
    assert min(shares.values()) < max(shares.values())


def test_members_differ_in_their_seed(work, data, context):
    few = brief(context)
    models = [train(work.classifier, few.settings.plain, data, few.varied(seed=seed), "x") for seed in range(3)]
    three = replace(few.with_knobs("model_stock", {"members": 3}), fitted={"ft": models[0]}.__getitem__)
    assert same(METHODS["model_stock"].fit(work.classifier, data, three), stock(work.classifier, models))
