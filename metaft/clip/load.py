"""Loading CLIP models through open_clip: architecture, weights, tokenizer and image geometry."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor

from metaft.clip.embedded import resolve
from metaft.clip.names import architectures
from metaft.data.types import ImageView
from metaft.errors import CheckpointError, nearest

LOADING_ERRORS = (
    *(RuntimeError, ValueError, OSError, KeyError, EOFError, UserWarning),
    *(pickle.UnpicklingError, SafetensorError),
)
RANDOM = "random"  # the value of `pretrained` that asks for untrained weights


@dataclass(frozen=True)
class Clip:
    """A CLIP model with its tokenizer, its image view and the configurations by which open_clip loads it again."""

    model: nn.Module
    tokenizer: Callable[[list[str]], Tensor]
    view: ImageView
    config: dict[str, Any]  # open_clip's model_cfg; empty where it is not known
    preprocess: dict[str, Any]  # open_clip's preprocess_cfg


def load(name: str, pretrained: str | None, device: torch.device | str = "cpu") -> Clip:
    """Load a CLIP model in float32, in a form that has second derivatives.

    In-place activations are switched off (autograd needs their inputs twice).

    Args:
        name: an open_clip architecture, `local-dir:PATH`, or an embedded model.
        pretrained: a tag, a file, `random` for untrained weights, `seed-N` for a pretraining of an embedded model, or
            None where the name includes its weights.
        device: where the model goes.

    Raises:
        CheckpointError: unknown name or tag, missing file, or weights of another architecture.
    """
    pretrained = resolve(name, pretrained)
    if ":" not in name and name not in architectures():
        raise CheckpointError(f"model.name: unknown architecture {name!r}; nearest: {nearest(name, architectures())!r}")
    with _strict_warnings(), _quiet_log():
        try:
            model = open_clip.create_model(
                name,
                pretrained=None if pretrained == RANDOM else pretrained,
                require_pretrained=pretrained != RANDOM,
                pretrained_text=False,
                device=device,
                output_dict=True,
            )
            tokenizer = open_clip.get_tokenizer(name)
        except LOADING_ERRORS as error:
            raise CheckpointError(_explain(name, pretrained, error)) from error
    preprocess = dict(model.visual.preprocess_cfg)
    config = open_clip.get_model_config(name)
    assert config is not None, "create_model has read it"
    return Clip(without_inplace(model).float().eval(), tokenizer, image_view(preprocess), config, preprocess)


def without_inplace(model: nn.Module) -> nn.Module:
    """The model with its in-place activations switched off: a second derivative needs their inputs."""
    for module in model.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 (a plain attribute, which nn.Module's types do not know)
    return model


def image_view(preprocess: dict[str, Any]) -> ImageView:
    """open_clip's evaluation transform, without its last steps, which turn pixels into normalised numbers.

    Raises:
        CheckpointError: the transform does not end in ToTensor and Normalize.
    """
    steps = image_transform_v2(PreprocessCfg(**preprocess), is_train=False).transforms
    if not (isinstance(steps[-1], Normalize) and isinstance(steps[-2], ToTensor)):
        raise CheckpointError(f"model: unsupported image transform {steps}; allowed: one ending in ToTensor, Normalize")
    size = preprocess["size"]
    side = size if isinstance(size, int) else size[0]
    geometry = Compose([*steps[:-2], PILToTensor()])
    return ImageView(side, tuple(preprocess["mean"]), tuple(preprocess["std"]), geometry)


def _explain(name: str, pretrained: str | None, error: Exception) -> str:
    """What open_clip's error means for the user who named a model."""
    failure = f"model.pretrained: {pretrained!r} cannot be loaded into {name!r}"
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        return f"model.pretrained: nothing given for {name!r}; allowed: a file, 'random', or a tag of {tags}"
    if isinstance(error, UserWarning):
        return f"{failure}: {error} Use the architecture whose name ends in '-quickgelu'"
    reason = str(error).splitlines()[0]
    if Path(pretrained).is_file() and isinstance(error, RuntimeError):
        return f"{failure}: its weights are of another architecture ({reason}); allowed: a checkpoint of {name!r}"
    return f"{failure}: {reason}; allowed: an existing file, 'random', or a tag of {tags}"


@contextmanager
def _strict_warnings() -> Iterator[None]:
    """Make an error of open_clip's warning that weights were trained with another activation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="QuickGELU mismatch")
        yield


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Silence open_clip, which logs to the root logger what the raised error says as well."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
