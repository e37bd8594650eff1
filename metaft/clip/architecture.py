"""Which of open_clip's architectures a configuration or a set of weights belongs to."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache
from typing import Any

import open_clip
from open_clip import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

Config = dict[str, Any]

# Settings that change no output of a loaded model.
TRAINING_ONLY = {
    *("vision_cfg.timm_model_pretrained", "text_cfg.hf_model_pretrained"),
    *("vision_cfg.timm_drop", "vision_cfg.timm_drop_path", "vision_cfg.patch_dropout"),
    *("init_logit_scale", "text_cfg.tokenizer_kwargs"),
}
TOWERS = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The settings by dotted name in which two configurations of open_clip differ, with both values."""
    return _unlike(_flat(one), _flat(other))


def same(config: Config) -> list[str]:
    """The architectures of open_clip with this configuration, the shortest name first."""
    flat = _flat(config)
    names = [name for name in open_clip.list_models() if not _unlike(flat, _known(name))]
    return sorted(names, key=lambda name: (len(name), name))


def fitting(state: dict[str, Tensor]) -> list[str]:
    """The architectures of open_clip whose shapes these weights have: of those with plain vision transformers.

    A fit is told by width, patch, image, features, layers, and by the text tower's width, vocabulary and context.
    """
    names = [name for name in open_clip.list_models() if _has_shapes(state, _config(name))]
    return sorted(names, key=lambda name: (len(name), name))


def _unlike(left: Config, right: Config) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*left, *right])
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


@cache
def _known(name: str) -> Config:
    return _flat(_config(name))


def _config(name: str) -> Config:
    config: Config = open_clip.get_model_config(name)
    return config


def _flat(config: Config) -> Config:
    """A configuration by dotted name, with the defaults of what it leaves out."""
    flat: Config = {"quick_gelu": False, "custom_text": False}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": _plain(part) for key, part in _with_defaults(name, value).items()}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if name not in TRAINING_ONLY}


def _with_defaults(tower: str, config: Config) -> Config:
    try:
        return asdict(TOWERS[tower](**config))
    except (KeyError, TypeError):  # a part without defaults, or with settings that this open_clip does not know
        return config


def _plain(value: Any) -> Any:
    """A value as JSON has it, a square size as one number."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 2 and value[0] == value[1] else list(value)
    return value


def _has_shapes(state: dict[str, Tensor], config: Config) -> bool:
    vision, text = CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"])
    if vision.timm_model_name or text.hf_model_name or not isinstance(vision.layers, int):
        return False
    if "multimodal_cfg" in config or vision.attentional_pool or not isinstance(vision.image_size, int):
        return False
    patches = (vision.image_size // vision.patch_size) ** 2
    shapes = {
        "visual.conv1.weight": [vision.width, 3, vision.patch_size, vision.patch_size],
        "visual.positional_embedding": [1 + patches, vision.width],
        "visual.proj": [vision.width, config["embed_dim"]],
        "token_embedding.weight": [text.vocab_size, text.width],
        "positional_embedding": [text.context_length, text.width],
    }
    plain = {name.removeprefix("text."): list(tensor.shape) for name, tensor in state.items()}
    depths = (("visual.", vision.layers), ("", text.layers))
    return all(plain.get(name) == shape for name, shape in shapes.items()) and all(
        _depth(plain, tower) == layers for tower, layers in depths
    )


def _depth(names: dict[str, Any], tower: str) -> int:
    """The number of blocks of a transformer."""
    pattern = re.compile(re.escape(tower) + r"transformer\.resblocks\.(\d+)\.")
    return len({found[1] for name in names if (found := pattern.match(name))})
