"""LoRA against PEFT on the same factors, inside nn.MultiheadAttention too, and its identities."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metaft.errors import ConfigError
from metaft.hooks.lora import A, B, LoRA


class Attention(nn.Module):
    """As in open_clip's transformer blocks, and timm's names beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
        self.trunk = nn.ModuleDict({"attn": nn.ModuleDict({"qkv": nn.Linear(16, 48), "proj": nn.Linear(48, 16)})})
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.attn(x, x, x, need_weights=False)[0]
        timm = self.trunk["attn"]
        return self.head(y + timm["proj"](timm["qkv"](y).relu()))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Attention().double()


def variables_of(hook, model, seed=0):
    pretrained = {k: p.detach() for k, p in model.named_parameters()}
    return hook.variables(pretrained, torch.Generator().manual_seed(seed)), pretrained


def test_equals_peft(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=4, lora_alpha=6, target_modules=r"attn|trunk\.attn\.(qkv|proj)", lora_dropout=0.0)
        theirs = get_peft_model(copy.deepcopy(model), config).double()
    hook = LoRA(4, 6)
    variables, pretrained = variables_of(hook, model)
    g = torch.Generator().manual_seed(1)
    factors = {k: torch.randn(v.shape, generator=g, dtype=v.dtype) for k, v in variables.items() if k.endswith((A, B))}
    factors["attn.out_proj.weight" + B].zero_()  # huggingface/peft#3774: added twice inside nn.MultiheadAttention
    variables = {**variables, **factors}
    places = {
        "attn.in_proj_weight": "attn",
        "attn.out_proj.weight": "attn.base_layer.out_proj",
        "trunk.attn.qkv.weight": "trunk.attn.qkv",
        "trunk.attn.proj.weight": "trunk.attn.proj",
    }
    with torch.no_grad():
        for name, place in places.items():
            layer = theirs.base_model.model.get_submodule(place)
            layer.lora_A["default"].weight.copy_(factors[name + A])
            layer.lora_B["default"].weight.copy_(factors[name + B])
    x = torch.randn(5, 6, 16, dtype=torch.float64)
    ours = functional_call(model, dict(hook.parameters(variables, pretrained)), (x,))
    torch.testing.assert_close(ours, theirs(x), rtol=0, atol=1e-6)
    assert (ours - model(x)).abs().max() > 0.1


def test_out_proj_inside_multihead_attention(model):
    """What PEFT gets wrong: attention's output is projected by W_0 + alpha / rank B A, once."""
    hook = LoRA(4, 6, ["attn.out_proj.weight"])
    variables, pretrained = variables_of(hook, model)
    b = torch.randn(16, 4, dtype=torch.float64)
    variables["attn.out_proj.weight" + B] = b
    x = torch.randn(5, 6, 16, dtype=torch.float64)
    plain = copy.deepcopy(model.attn)
    with torch.no_grad():
        plain.out_proj.weight.copy_(torch.eye(16))
        plain.out_proj.bias.zero_()
    heads = plain(x, x, x, need_weights=False)[0]
    out = model.attn.out_proj
    expected = out(heads) + 1.5 * heads @ variables["attn.out_proj.weight" + A].T @ b.T
    merged = {k.removeprefix("attn."): p for k, p in hook.parameters(variables, pretrained).items() if "attn" in k}
    ours = functional_call(model.attn, merged, (x, x, x), {"need_weights": False})[0]
    torch.testing.assert_close(ours, expected)


def test_starts_as_identity_and_trains_factors_and_head_alone(model):
    hook = LoRA(4, 16)
    variables, pretrained = variables_of(hook, model)
    targets = ("attn.in_proj_weight", "attn.out_proj.weight", "trunk.attn.qkv.weight", "trunk.attn.proj.weight")
    assert set(variables) == {t + s for t in targets for s in (A, B)} | {"head.weight", "head.bias"}
    assert all(torch.equal(p, pretrained[name]) for name, p in hook.parameters(variables, pretrained).items())
    again, _ = variables_of(hook, model)
    assert all(torch.equal(v, again[k]) for k, v in variables.items())


def test_merged_equals_unmerged(model):
    """Copied into the model, the parameters give what low-rank terms beside the model give."""
    hook = LoRA(2, 8, ["trunk.attn.qkv.weight"])
    variables, pretrained = variables_of(hook, model)
    b = torch.randn(48, 2, dtype=torch.float64)
    variables["trunk.attn.qkv.weight" + B] = b
    merged = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in hook.parameters(variables, pretrained).items():
            merged.get_parameter(name).copy_(p)
    x = torch.randn(7, 16, dtype=torch.float64)
    qkv, a = "qkv", variables["trunk.attn.qkv.weight" + A]
    unmerged = model.trunk["attn"][qkv](x) + 4 * (x @ a.T @ b.T)
    torch.testing.assert_close(merged.trunk["attn"][qkv](x), unmerged)


def test_targets_not_found(model):
    _, pretrained = variables_of(LoRA(2, 2), model)
    with pytest.raises(ConfigError, match=r"finetune.lora_targets: '\*nothing\*' matches no matrix; allowed: patterns"):
        LoRA(2, 2, ["*attn*", "*nothing*"]).targets(pretrained)
    plain = {"stem.weight": torch.zeros(3, 3), "stem.bias": torch.zeros(3)}
    with pytest.raises(ConfigError, match=r"no attention matrix among the trained parameters.*stem.weight"):
        LoRA(2, 2).targets(plain)
