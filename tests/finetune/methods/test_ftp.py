"""ftp: its optimizers beside torch's own."""

from __future__ import annotations

import pytest
import torch

from metaft.clip.classifier import trainable
from metaft.finetune.methods import METHODS
from metaft.hooks.ftp import FTP
from metaft.hooks.knobs import settled
from metaft.hooks.registry import HOOKS
from tests.finetune.states import by_hand, close, goes_on_to_the_same_end


@pytest.mark.parametrize(
    ("name", "optimizer", "options"),
    [("adamw", torch.optim.AdamW, {}), ("sgd", torch.optim.SGD, {"momentum": 0.9})],
)
def test_it_is_torchs_step_projected(work, data, context, name, optimizer, options):
    varied = context.with_knobs("ftp", {"optimizer": name, "lr_factor": 2.0})
    model = METHODS["ftp"].fit(work.classifier, data, varied)
    rates = dict.fromkeys(trainable(work.classifier, text=False, freeze=()), 2e-3)
    knobs = settled(HOOKS["ftp"].knobs, {})
    close(model, by_hand(work.classifier, rates, data, context, optimizer, FTP("mars"), knobs, **options))


def test_by_sgd_it_goes_on_to_the_same_end(work, data, short):
    context = short.with_knobs("ftp", {"optimizer": "sgd", "lr_factor": 10.0})
    assert goes_on_to_the_same_end("ftp", work, data, context)
