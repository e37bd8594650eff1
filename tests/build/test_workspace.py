"""The device is asked for where the model is loaded, not where settings are checked."""

from __future__ import annotations

import pytest
import torch

from metaft import build, config
from metaft.build.workspace import workspace
from metaft.errors import ConfigError


def test_a_device_that_is_not_there_is_refused():
    cfg = config.load(None, ["device=cuda:99"])
    build.check(cfg)
    with pytest.raises(ConfigError, match=r"device: 'cuda:99' \(.*\); allowed: auto, cpu, cuda, cuda:N"):
        workspace(cfg)


def test_a_fresh_model_is_a_copy_of_theta_0(work):
    model = work.fresh()
    with torch.no_grad():
        model.head.bias.add_(1.0)
    assert not torch.equal(model.head.bias, work.classifier.head.bias)
    assert torch.equal(work.fresh().head.bias, work.classifier.head.bias)
