"""What a model of open_clip must give to be fine-tuned here, and how CoCa is brought to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import open_clip
import torch
from open_clip.model import set_model_preprocess_cfg
from torch import Tensor, nn

from metaft.clip.architecture import Config
from metaft.errors import CheckpointError

DECODER = "text_decoder"
LARGEST_SCALE = 10**4  # CLIP's is at most 100 in training; some files hold it where its logarithm should be


def towers(config: Config) -> Config:
    """The configuration of CoCa's two towers, without its caption decoder; any other as it is."""
    if "multimodal_cfg" not in config:
        return config
    parts = {name: {**config[name], "output_tokens": False} for name in ("vision_cfg", "text_cfg")}
    return {**{name: value for name, value in config.items() if name != "multimodal_cfg"}, **parts, "custom_text": True}


def contrastive(model: nn.Module, config: Config) -> tuple[nn.Module, Config]:
    """CoCa's two towers as a CLIP model, with its configuration; any other model as it is.

    The decoder gives captions, not features: no term trains it, and a penalty on weights would only shrink it.
    """
    if not isinstance(model, open_clip.CoCa):
        return model, config
    config = towers(config)
    built = {name: value for name, value in config.items() if name != "custom_text"}
    clip = open_clip.CustomTextCLIP(**built, output_dict=True).to(model.logit_scale.device)
    clip.load_state_dict({name: t for name, t in model.state_dict().items() if name.split(".")[0] != DECODER})
    set_model_preprocess_cfg(clip, preprocessing(model))
    return clip, config


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """open_clip's `preprocess_cfg` of a model that it made."""
    visual: Any = model.visual
    found: dict[str, Any] = visual.preprocess_cfg
    return found


@torch.no_grad()
def refuse_unusable(model: nn.Module, tokenizer: Callable[[list[str]], Tensor], name: str) -> None:
    """Pass one image and one caption through a model.

    Raises:
        CheckpointError: it does not give image features [1, D], text features [1, D] and one logit scale, or what its
            weights give of them is of no use.
    """
    needed = "a model that gives image features [B, D], text features [B, D] and one logit scale"
    side = preprocessing(model)["size"]
    height, width = (side, side) if isinstance(side, int) else side
    device = next(model.parameters()).device
    try:
        image = torch.linspace(-1, 1, 3 * height * width, device=device).view(1, 3, height, width)
        out: Any = model(image, tokenizer(["a word"]).to(device))
        shapes = [list(out[key].shape) for key in ("image_features", "text_features")]
        scales = out["logit_scale"].flatten().tolist()
        lengths = [float(out[key].norm()) for key in ("image_features", "text_features")]
    except Exception as error:  # a family that does not fit fails anywhere
        reason = (str(error).splitlines() or [""])[0]
        found = f"{type(model).__name__} cannot be used ({type(error).__name__}: {reason})"
        raise CheckpointError(f"model.name: {name!r}: {found}; allowed: {needed}") from error
    seen, read = shapes
    if seen != read or seen[:1] != [1] or len(seen) != 2 or len(scales) != 1:
        found = f"image features {seen}, text features {read}, {len(scales)} logit scales"
        raise CheckpointError(f"model.name: {name!r}: {found}; allowed: {needed}")
    if not all(0 < length < math.inf for length in lengths) or not 0 < scales[0] < LARGEST_SCALE:
        found = f"features of lengths {lengths[0]:g} and {lengths[1]:g}, and a logit scale of {scales[0]:g}"
        allowed = f"trained weights: finite features other than 0, and exp(logit_scale) below {LARGEST_SCALE:,}"
        raise CheckpointError(f"model.pretrained: {found}; allowed: {allowed}")
