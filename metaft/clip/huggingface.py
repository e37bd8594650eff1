"""Hugging Face's names of CLIP's weights, translated to open_clip's."""

from __future__ import annotations

import re

import torch
from torch import Tensor

TOWERS = {"vision_model": "visual.", "text_model": ""}
NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # so spelt
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
}
BLOCK_NAMES = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_BLOCK = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")


def translated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `CLIPModel` under open_clip's names; what has none keeps its own.

    Query, key and value projections are stacked: in_proj = [W_q; W_k; W_v], [3 W, W]. A projection to features is
    `x @ proj` in open_clip and `proj(x)` there, so it is transposed.

    Source: `transformers.models.clip.modeling_clip`.
    """
    found = dict(state)
    result = {}
    for name in state:
        block = _BLOCK.match(name)
        if block is None or block[3] != "self_attn.q_proj":
            continue
        names = [name.replace(".q_proj.", f".{which}_proj.") for which in "qkv"]
        if all(part in found for part in names):
            stack = torch.cat([found.pop(part) for part in names])
            result[f"{_block_name(block)}.attn.in_proj_{block[4]}"] = stack
    for name, tensor in found.items():
        result[_translated_name(name)] = tensor.t() if name in PROJECTIONS else tensor
    return result


def _translated_name(name: str) -> str:
    if name in PROJECTIONS:
        return PROJECTIONS[name]
    block = _BLOCK.match(name)
    if block and block[3] in BLOCK_NAMES:
        return f"{_block_name(block)}.{BLOCK_NAMES[block[3]]}.{block[4]}"
    stem, _, last = name.rpartition(".")
    return NAMES.get(name) or (f"{NAMES[stem]}.{last}" if stem in NAMES else name)


def _block_name(block: re.Match[str]) -> str:
    return f"{TOWERS[block[1]]}transformer.resblocks.{block[2]}"
