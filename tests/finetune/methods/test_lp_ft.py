"""lp_ft: where it starts."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.finetune.methods import METHODS


def test_it_starts_from_the_probe(work, data, short, fits):
    plain = replace(short.settings.plain, lr=1e-9)
    still = replace(short.varied(steps=1, checks=1, plain=plain), fitted=fits.model)
    model = METHODS["lp_ft"].fit(work.classifier, data, still)
    torch.testing.assert_close(model.head.weight, fits.model("linear_probe").head.weight, rtol=0, atol=1e-6)
