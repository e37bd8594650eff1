"""lora: what it moves, and targets that are not there."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from tests.finetune.states import with_finetune


def test_targets_not_there(work, data, short):
    with pytest.raises(ConfigError, match=r"finetune.lora_targets: '\*attention\*' matches no matrix"):
        METHODS["lora"].fit(work.classifier, data, with_finetune(short, lora_targets=("*attention*",)))


def test_it_moves_attention_by_its_rank_and_the_head(work, fits):
    model = fits.model("lora")
    for name, p in model.named_parameters():
        change = (p - work.classifier.get_parameter(name)).detach().double()
        if "attn.in_proj_weight" in name or "attn.out_proj.weight" in name:
            if "visual" in name:
                singular = torch.linalg.svdvals(change)
                assert singular[3] > 1e-5
                assert singular[4] < 1e-4 * singular[0]
        elif not name.startswith("head."):
            assert not change.any(), name
