"""Loading a checkpoint file into a model of open_clip, or saying why its weights are not this model's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from open_clip.convert import load_big_vision_weights
from torch import nn

from metaft.clip import architecture, trained_as
from metaft.clip.architecture import Config
from metaft.clip.checkpoint import read
from metaft.clip.contents import Contents
from metaft.clip.families import preprocessing, towers
from metaft.clip.positions import IMAGE, Misfit, misfits, pixels, resized
from metaft.clip.trained_as import Setting
from metaft.clip.wrappings import HUGGING_FACE, TEXT_PARTS, SeveralModelsError, State, Unwrapped, unwrap
from metaft.errors import CheckpointError, first_line
from metaft.progress import tell

SHOWN = 3  # names in a message
ALIKE = 1e-3  # by which means and deviations may differ that are written in other digits
ADAPTER = re.compile(r"\blora_|\.base_layer\.")  # in names that peft gives
IMAGE_TOWER = "visual."
MERGED = "the model with its adapter merged, as peft's merge_and_unload gives it"
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


class TextlessError(CheckpointError):
    """A file holds an image tower, and not all of its text tower, without which there is no head from class names."""


@dataclass(frozen=True)
class Target:
    """A model without weights, the file that holds them, and open_clip's name and configuration of the model.

    Args:
        text: whether the text tower is needed; else what the file lacks of it stays as it is.
    """

    model: nn.Module
    path: Path
    name: str
    config: Config
    text: bool = True

    def refuse(self, found: str, allowed: str = "", kind: type[CheckpointError] = CheckpointError) -> NoReturn:
        """Raise the CheckpointError of this file and this model."""
        place = f"model.pretrained: {str(self.path)!r} cannot be loaded into {self.name!r}"
        raise kind(f"{place}: {found}; allowed: {allowed or f'a checkpoint of {self.name!r}'}")


def load_weights(target: Target, *, resize: bool) -> None:
    """Load a file into a model, whatever its weights are wrapped in, and tell what was undone.

    Args:
        resize: interpolate positional embeddings of another length, rather than to refuse them.

    Raises:
        CheckpointError: an unreadable file, other names or shapes, weights that are not finite, or weights trained
            with another activation, image size or configuration where the file or one beside it says so.
    """
    if _is_big_vision(target.path):
        _load_big_vision(target)
        return
    contents = read(target.path)
    _refuse_other_configuration(target)
    found = _unwrapped(contents, target)
    settings = trained_as.settings(contents, target.path)
    _refuse_other_activation(contents, settings, found, target)
    state = _completed(found.state, target.model)
    if not target.text:
        state = _with_image_tower_alone(state, target.model)
    _refuse_other_names(state, contents, found, target)
    _refuse_unusable(state, target)
    unlike = misfits(state, target.model) or _said_misfit(settings, state, target.model)
    if unlike and not resize:
        _refuse_size(unlike[0], state, target)
    state = resized(state, target.model)
    _refuse_other_shapes(state, target)
    target.model.load_state_dict(state)
    pixels_said = _take_pictures_as_said(target) if found.naming == HUGGING_FACE else []
    _tell(found, unlike, pixels_said, target.path)


def non_finite(state: State) -> str | None:
    """The first tensor that is not finite in float32, with its count of such values and the count of such tensors."""
    bad = {name: n for name, tensor in state.items() if (n := int((~torch.isfinite(tensor.float())).sum()))}
    if not bad:
        return None
    name, count = next(iter(bad.items()))
    more = f"; {len(bad)} tensors of {len(state)} have such values" if len(bad) > 1 else ""
    return f"{name} has {count} of {state[name].numel()} values that are NaN or infinite{more}"


def _unwrapped(contents: Contents, target: Target) -> Unwrapped:
    try:
        return unwrap(contents.tensors, target.model)
    except SeveralModelsError as error:
        target.refuse(str(error), "one model: save the one that is meant in a file of its own")
    except Exception as error:  # translators of other libraries' names fail in every way on names that are incomplete
        reason = first_line(error)
        target.refuse(f"its names are another library's and cannot be translated ({type(error).__name__}: {reason})")


def _completed(state: State, model: nn.Module) -> State:
    """What open_clip adds to a state dict: scales of the model's rank, and a bias of zero where only the model has one.

    Source: `open_clip.factory.load_checkpoint`.
    """
    wanted = model.state_dict()
    result = dict(state)
    if "logit_bias" in wanted and "logit_scale" in state:
        result.setdefault("logit_bias", torch.zeros_like(state["logit_scale"]))
    for name in ("logit_scale", "logit_bias"):
        if name in result and name in wanted and result[name].numel() == wanted[name].numel():
            result[name] = result[name].reshape(wanted[name].shape)
    return result


def _with_image_tower_alone(state: State, model: nn.Module) -> State:
    """A file's image tower beside the model's own text side."""
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(IMAGE_TOWER)}
    towers = {name: tensor for name, tensor in state.items() if name.startswith(IMAGE_TOWER)}
    return {**own, **(towers or state)}


def _refuse_other_configuration(target: Target) -> None:
    config, preprocess = trained_as.beside(target.path)
    if config is None:
        return
    unlike = architecture.differences(towers(config), target.config)
    preset = preprocessing(target.model)
    unlike |= {
        key: (preprocess[key], preset[key])
        for key in PREPROCESSING
        if key in preprocess and key in preset and _json_value(preprocess[key]) != _json_value(preset[key])
    }
    if unlike:
        said = [f"{key}={theirs!r}, not {ours!r}" for key, (theirs, ours) in list(unlike.items())[:SHOWN]]
        folder = f"model.name=local-dir:{target.path.parent}"
        target.refuse(
            f"open_clip_config.json beside it says {'; '.join(said)}",
            _any_of([name for name in architecture.same(config) if name != target.name], folder),
        )


def _take_pictures_as_said(target: Target) -> list[str]:
    """Give the model the mean and deviation of pixels that Hugging Face's file beside its weights says, where others.

    Returns:
        What was changed, for whoever is to be told.
    """
    preset, news = preprocessing(target.model), []
    for name, theirs in trained_as.pixels_beside(target.path).items():
        if not np.allclose(theirs, preset[name], atol=ALIKE, rtol=0):
            preset[name] = theirs
            news.append(f"image_{name} {list(theirs)} as preprocessor_config.json says")
    return news


def _refuse_other_activation(contents: Contents, settings: Sequence[Setting], found: Unwrapped, target: Target) -> None:
    theirs = found.naming == HUGGING_FACE
    said = trained_as.activation(contents, settings, trained_as.hugging_face_config(target.path) if theirs else {})
    quick = bool(target.config.get("quick_gelu", False))
    if said is not None and said.quick != quick:
        names = {True: "QuickGELU", False: "GELU"}
        other = architecture.same({**target.config, "quick_gelu": said.quick})
        folder = f"local-dir:FOLDER whose open_clip_config.json has quick_gelu={str(said.quick).lower()}"
        target.refuse(
            f"it was trained with {names[said.quick]} ({said.source}), and the architecture has {names[quick]}",
            _any_of(other, folder),
        )


def _refuse_other_names(state: State, contents: Contents, found: Unwrapped, target: Target) -> None:
    wanted = target.model.state_dict()
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    if not (missing or unexpected):
        return
    form = f"it is {contents.kind}" + (f" under {found.naming} names" if found.naming else "")
    adapters = [name for name in state if ADAPTER.search(name)]
    if adapters:
        target.refuse(f"{form}; there are weights of an adapter ({_shown(adapters)})", MERGED)
    shared = [name for name in state if name in wanted]
    alike = not unexpected and all(state[name].shape == wanted[name].shape for name in shared)
    whose = "it is of another architecture" if not alike else "it is a part of the model"
    whose = whose if shared else "no name is CLIP's"
    whose = "it is an image tower alone" if alike and all(name.startswith(IMAGE_TOWER) for name in state) else whose
    lacks = f"{len(missing)} missing ({_shown(missing)})"
    extra = f"{len(unexpected)} unexpected ({_shown(unexpected)})"
    parts = {name.removeprefix("text.").split(".")[0] for name in missing}
    textless = bool(parts & set(TEXT_PARTS)) and parts <= {*TEXT_PARTS, "logit_scale", "logit_bias"}
    tower = "; without its text tower there is no head from class names" if textless else ""
    kind = TextlessError if textless else CheckpointError
    target.refuse(f"{form}; {whose}: {lacks}, {extra}{tower}", _fits(state, target), kind)


def _refuse_size(unlike: Misfit, state: State, target: Target) -> None:
    larger = {**target.config, "vision_cfg": {**target.config["vision_cfg"], "image_size": unlike.found}}
    names = architecture.same(larger) if unlike.what == "image size" else []
    embedding = ", which resizes the embedding" if unlike.name in state else ""
    target.refuse(
        f"it was trained at {unlike.what} {unlike.found}, and the architecture has {unlike.expected} ({unlike.name})",
        f"{_fits(state, target, names)}, or model.resize=true{embedding}",
    )


def _said_misfit(settings: Sequence[Setting], state: State, model: nn.Module) -> list[Misfit]:
    """The size of images that settings say, of an image tower whose weights fit any: one without positions."""
    said = None if any(name in state for name in IMAGE) else trained_as.image_size(settings)
    if said is None or said.side == pixels(model):
        return []
    return [Misfit(said.source, "image size", said.side, pixels(model))]


def _refuse_other_shapes(state: State, target: Target) -> None:
    wanted = target.model.state_dict()
    unlike = [name for name, tensor in state.items() if tensor.shape != wanted[name].shape]
    if unlike:
        shapes = [f"{name} {list(state[name].shape)}, not {list(wanted[name].shape)}" for name in unlike[:SHOWN]]
        target.refuse(
            f"its weights are of another architecture ({len(unlike)} other shapes: {'; '.join(shapes)})",
            _fits(state, target),
        )


def _refuse_unusable(state: State, target: Target) -> None:
    wanted = target.model.state_dict()
    empty = [name for name, tensor in state.items() if tensor.numel() == 0 < wanted[name].numel()]
    if empty:
        found = f"{len(empty)} of {len(state)} tensors are empty ({_shown(empty)}), as of DeepSpeed's ZeRO stage 3"
        target.refuse(found, "whole tensors: zero_to_fp32.py, which DeepSpeed writes beside them, puts these together")
    for name, tensor in state.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            target.refuse(f"{name} is without values" if tensor.is_meta else f"{name} is sparse", "plain tensors")
        if wanted[name].is_floating_point() and not tensor.is_floating_point():
            target.refuse(f"{name} is stored as {tensor.dtype}, as quantised weights are", "floating-point weights")
    bad = non_finite(state)
    if bad:
        target.refuse(bad, "finite weights")


def _fits(state: State, target: Target, names: Sequence[str] = ()) -> str:
    """What is allowed instead: architectures that the weights fit, those with the same activation first."""
    found = [name for name in [*names, *architecture.fitting(state)] if name != target.name]
    quick = bool(target.config.get("quick_gelu", False))
    alike = [name for name in found if name.endswith("quickgelu") == quick]
    return _any_of(list(dict.fromkeys(alike or found)), f"a checkpoint of {target.name!r}")


def _any_of(names: Sequence[str], otherwise: str) -> str:
    return " or ".join([*(f"model.name={name}" for name in names[:SHOWN]), otherwise])


def _shown(names: Sequence[str]) -> str:
    return ", ".join([*(name or "''" for name in names[:SHOWN]), *(["..."] if len(names) > SHOWN else [])]) or "none"


def _json_value(value: object) -> object:
    """A value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _tell(found: Unwrapped, unlike: Sequence[Misfit], said: Sequence[str], path: Path) -> None:
    news = [f"undone: {', '.join(found.undone)}"] if found.undone else []
    news += [f"left out: {', '.join(found.left_out)}"] if found.left_out else []
    news += [f"{misfit.what} resized from {misfit.found} to {misfit.expected}" for misfit in unlike]
    news += said
    if news:
        tell(f"{path}: {'; '.join(news)}")


def _is_big_vision(path: Path) -> bool:
    """Whether a file is a numpy archive of Google's big_vision, as SigLIP's own weights are."""
    if path.suffix != ".npz":
        return False
    try:
        with np.load(path) as arrays:
            return any(name.removeprefix("params/") == "img/embedding/kernel" for name in arrays.files)
    except Exception:  # a damaged archive, of which the general reader says what is wrong
        return False


def _load_big_vision(target: Target) -> None:
    try:
        with target.path.open("rb") as file:  # which open_clip would leave open
            load_big_vision_weights(target.model, file)
    except Exception as error:  # it looks names up and copies shapes unchecked
        reason = first_line(error)
        target.refuse(f"it is a numpy archive of big_vision, which does not fit ({type(error).__name__}: {reason})")
    bad = non_finite(target.model.state_dict())
    if bad:
        target.refuse(bad, "finite weights")
    tell(f"{target.path}: undone: big_vision names")
