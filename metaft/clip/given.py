"""The user's own open_clip model, prepared for training and differentiation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import open_clip
from torch import Tensor, nn

from metaft.clip.architecture import fitting as architecture_of
from metaft.clip.families import contrastive
from metaft.clip.load import Clip, image_view, without_inplace
from metaft.clip.weights import non_finite
from metaft.errors import CheckpointError, ConfigError, Fault

NEEDED = ("visual", "encode_image", "encode_text", "logit_scale")


def clip_of(model: nn.Module, tokenizer: Callable[[list[str]], Tensor], architecture: str | None, device: Any) -> Clip:
    """A copy of a model that `open_clip.create_model` made, in float32 and evaluation mode.

    Args:
        architecture: its name in open_clip; without it the model cannot be saved for open_clip.

    Raises:
        ConfigError: open_clip did not make the model, or does not know the architecture.
        CheckpointError: its weights are not finite.
    """
    missing = [name for name in NEEDED if not hasattr(model, name)]
    preprocess = getattr(getattr(model, "visual", None), "preprocess_cfg", None)
    if missing or preprocess is None:
        lacks = ", ".join(missing) or "visual.preprocess_cfg"
        described = f"a {type(model).__name__} without {lacks}, which open_clip did not make"
        raise ConfigError([Fault("model", described, "a model from open_clip.create_model_and_transforms")])
    config = {} if architecture is None else open_clip.get_model_config(architecture)
    if config is None:
        raise ConfigError([Fault("architecture", repr(architecture), "a name of open_clip.list_models()")])
    fit = architecture_of(model.state_dict()) if config else []
    if fit and ":" not in str(architecture) and architecture not in fit:  # others are names of folders
        described = f"{architecture!r}, whose sizes are not the model's"
        raise ConfigError([Fault("architecture", described, ", ".join(fit))])
    if isinstance(model, open_clip.CoCa) and not config:
        raise ConfigError([Fault("architecture", "not given with a CoCa", "its name, by which its towers are built")])
    towers, config = contrastive(copy.deepcopy(model), config)
    copied: Any = without_inplace(towers).to(device).float().eval()
    copied.output_dict = True
    bad = non_finite(copied.state_dict())
    if bad:
        raise CheckpointError(f"model: {bad}; allowed: finite weights")
    return Clip(copied, tokenizer, image_view(dict(preprocess)), config, dict(preprocess))
