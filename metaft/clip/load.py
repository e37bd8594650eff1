"""Loading CLIP models through open_clip: architecture, weights, tokenizer and image geometry."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor, functional

from metaft.clip import architecture
from metaft.clip.embedded import resolve
from metaft.clip.families import contrastive, preprocessing, refuse_unusable
from metaft.clip.hub import offline_where_unreachable
from metaft.clip.source import RANDOM, configuration, weights_file
from metaft.clip.weights import Target, load_weights, non_finite
from metaft.data.types import ImageView
from metaft.errors import CheckpointError, first_line
from metaft.progress import quiet_log

LARGE = 2**24  # pixels of a picture between resizing and cropping
FILTER = 4  # pixels on either side of one that resizing takes account of, at most


@dataclass(frozen=True)
class Clip:
    """A CLIP model with its tokenizer, its image view and the configurations by which open_clip loads it again."""

    model: nn.Module
    tokenizer: Callable[[list[str]], Tensor]
    view: ImageView
    config: dict[str, Any]  # open_clip's model_cfg; empty where it is not known
    preprocess: dict[str, Any]  # open_clip's preprocess_cfg


def load(
    name: str, pretrained: str | None, device: torch.device | str = "cpu", *, resize: bool = False, text: bool = True
) -> Clip:
    """Load a CLIP model in float32, in a form that has second derivatives.

    In-place activations are switched off (autograd needs their inputs twice). Of CoCa the two towers are loaded.

    Args:
        name: an open_clip architecture, `local-dir:PATH`, `hf-hub:REPOSITORY`, or an embedded model.
        pretrained: a tag, a file of any form that `metaft.clip.checkpoint.read` knows, `random` for untrained weights
            (always the same), `seed-N` for a pretraining of an embedded model, or None where the name includes its
            weights.
        device: where the model goes.
        resize: interpolate positional embeddings of a file that was trained at another image size or caption length.
        text: whether the text tower is needed; without, that of a file may be missing, and is of no use then.

    Raises:
        CheckpointError: unknown name or tag; missing, unreadable or unlike weights, or weights that are not finite or
            were trained with another activation or image size; a tokenizer or a text tower that cannot be had; a model
            that does not give image and text features.
    """
    pretrained = resolve(name, pretrained)
    config = configuration(name)
    file = weights_file(name, pretrained)
    inside = pretrained if file is None and pretrained != RANDOM and ":" not in name else None  # a tag
    with _seeded(), _strict_warnings(), quiet_log(), offline_where_unreachable(_needs_hub(name, config, inside)):
        try:
            tokenizer = _tokenizer(name, config.get("text_cfg") or {})
            model = open_clip.create_model(
                name,
                pretrained=inside,
                load_weights=file is None and pretrained != RANDOM,
                require_pretrained=file is None and pretrained != RANDOM,
                pretrained_text=False,
                output_dict=True,
            )
        except Exception as error:  # open_clip, timm and transformers raise everything there is
            raise CheckpointError(_explain(name, pretrained, config, error)) from error
    model, config = contrastive(model, config)
    if file is not None:
        load_weights(Target(model, file, name, config, text), resize=resize)
    elif bad := non_finite(model.state_dict()):
        raise CheckpointError(f"model.pretrained: {pretrained or name!r}: {bad}; allowed: finite weights")
    model = without_inplace(model).float().eval().to(device)
    refuse_unusable(model, tokenizer, name)
    preprocess = dict(preprocessing(model))
    return Clip(model, tokenizer, image_view(preprocess), config, preprocess)


def _tokenizer(name: str, text: dict[str, Any]) -> Callable[[list[str]], Tensor]:
    """A model's tokenizer; Hugging Face's are made of files, which may be others the next time."""
    make = _made_tokenizer if text.get("hf_tokenizer_name") else _kept_tokenizer
    return make(name, json.dumps(text))


def _made_tokenizer(name: str, _: str) -> Callable[[list[str]], Tensor]:
    tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(name)
    return tokenizer


_kept_tokenizer = lru_cache(maxsize=4)(_made_tokenizer)  # open_clip's own takes a third of a second to make


@contextmanager
def _seeded() -> Iterator[None]:
    """Random numbers that are the same in every process, whatever has been drawn before; none are drawn from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def without_inplace(model: nn.Module) -> nn.Module:
    """The model with its in-place activations switched off: a second derivative needs their inputs."""
    for module in model.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 (a plain attribute, which nn.Module's types do not know)
    return model


def image_view(preprocess: dict[str, Any]) -> ImageView:
    """open_clip's evaluation transform, without its last steps, which turn pixels into normalised numbers.

    Raises:
        CheckpointError: the transform does not end in ToTensor and Normalize, or pictures are not square.
    """
    steps = image_transform_v2(PreprocessCfg(**preprocess), is_train=False).transforms
    if not (isinstance(steps[-1], Normalize) and isinstance(steps[-2], ToTensor)):
        raise CheckpointError(f"model: unsupported image transform {steps}; allowed: one ending in ToTensor, Normalize")
    sides = {preprocess["size"]} if isinstance(preprocess["size"], int) else {*preprocess["size"]}
    if len(sides) > 1:
        raise CheckpointError(f"model: it takes pictures of {list(preprocess['size'])}; allowed: square ones")
    (side,) = sides
    geometry = Compose([*_cropped_at_once(steps[:-2]), _channels_first])
    return ImageView(side, tuple(preprocess["mean"]), tuple(preprocess["std"]), geometry)


def _channels_first(image: Image.Image) -> Tensor:
    """The pixels of a picture in colours, uint8 [3, S, S]."""
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def _cropped_at_once(steps: Sequence[Any]) -> list[Any]:
    """The steps of a transform, of which resizing the shorter side and cropping to a square are one."""
    if not (len(steps) > 1 and isinstance(steps[0], Resize) and isinstance(steps[1], CenterCrop)):
        return list(steps)
    resize, side = steps[0], steps[0].size
    alike = isinstance(side, int) and steps[1].size == (side, side)
    return [_Middle(side, resize, steps[1]), *steps[2:]] if alike else list(steps)


@dataclass(frozen=True)
class _Middle:
    """The middle square of a resized picture; of one so long that it would take gigabytes, nothing else is made."""

    side: int
    resize: Resize
    crop: CenterCrop

    def __call__(self, image: Image.Image) -> Image.Image:
        short, long = sorted(image.size)
        if short == long == self.side:
            return image
        length = int(self.side * long / short)  # of the resized picture, as torchvision has it
        if self.side * length <= LARGE:
            whole: Image.Image = self.crop(self.resize(image))
            return whole
        begin = round((length - self.side) / 2) * long / length
        return self._of(image, begin, begin + self.side * long / length)

    def _of(self, image: Image.Image, begin: float, end: float) -> Image.Image:
        """A part of the longer side, resized, with what the filter takes of the pixels around it."""
        around = ceil(FILTER * max(1, min(image.size) / self.side))
        first, last = max(0, int(begin) - around), min(max(image.size), ceil(end) + around)
        upright = image.height > image.width
        near = image.crop((0, first, image.width, last) if upright else (first, 0, last, image.height))
        part, whole = (begin - first, end - first), (0, min(image.size))
        (left, right), (top, bottom) = (whole, part) if upright else (part, whole)
        how = functional.pil_modes_mapping[self.resize.interpolation]
        return near.resize((self.side, self.side), how, (left, top, right, bottom))


def _needs_hub(name: str, config: dict[str, Any], tag: str | None) -> bool:
    """Whether open_clip asks Hugging Face's hub for weights, a tokenizer or the shape of a text tower."""
    text = config.get("text_cfg", {})
    return bool(tag or name.startswith("hf-hub:") or text.get("hf_tokenizer_name") or text.get("hf_model_name"))


def _explain(name: str, pretrained: str | None, config: dict[str, Any], error: Exception) -> str:
    """What an error of open_clip means for the user who named a model."""
    failure = f"model.pretrained: {pretrained!r} cannot be loaded into {name!r}"
    if isinstance(error, UserWarning):
        others = architecture.same({**config, "quick_gelu": not config.get("quick_gelu", False)})
        return f"{failure}: {error}; allowed: {' or '.join(f'model.name={other}' for other in others)}"
    text = config.get("text_cfg", {})
    needs = text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if needs and "download weights" not in str(error):
        found = f"{name!r} needs {needs!r} of Hugging Face, which cannot be had ({first_line(error)})"
        allowed = (
            "transformers installed and a network or a filled cache, or an architecture with open_clip's tokenizer"
        )
        return f"model.name: {found}; allowed: {allowed}"
    return f"{failure}: {first_line(error)}; allowed: an existing file, 'random', or a tag that can be fetched"


@contextmanager
def _strict_warnings() -> Iterator[None]:
    """Make an error of open_clip's warning that weights were trained with another activation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="QuickGELU mismatch")
        yield
