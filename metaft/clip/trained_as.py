"""How a checkpoint's weights were trained, where the file or a configuration beside it says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import open_clip

from metaft.clip import forms
from metaft.clip.architecture import Config
from metaft.clip.contents import Contents
from metaft.errors import CheckpointError, on_a_line
from metaft.files import from_json
from metaft.texts import read_text, whole

SIZE = 2**20  # letters of a configuration
OPENAI_NAMES = ("input_resolution", "context_length", "vocab_size")
QUICK = ("QuickGELU", "QuickGELUActivation")
EXACT = ("GELU", "GELUActivation")
MODEL_SETTINGS = ("model", "model_name", "arch", "architecture")
SIZES = ("force_image_size", "image_size", "image_resolution", "input_resolution")
PARAMS = "params.txt"  # which training by open_clip writes beside its folder of checkpoints
NAMED_QUICK = re.compile(r"(?i)(?:^|[-_.])quick[-_]?gelu(?:[-_.]|$)")  # in a file's name, as open_clip's have it
RUN = re.compile(r"-model_(.+)-lr_")  # in the name that it gives a run without one


class Setting(NamedTuple):
    """A setting of the training, and what says so."""

    name: str
    value: Any
    source: str


class Activation(NamedTuple):
    """Whether the activation was QuickGELU, or GELU, and what says so."""

    quick: bool
    source: str


class ImageSize(NamedTuple):
    """The side of the images in pixels, and what says so."""

    side: int
    source: str


def settings(contents: Contents, path: Path) -> list[Setting]:
    """What the file says of its training, what open_clip wrote beside a checkpoint of its own, and the file's name.

    Source: `open_clip_train/main.py`: the run's name, which the checkpoint holds, and `logs/RUN/params.txt`.
    """
    found = [
        Setting(name.rpartition(".")[2], _typed(value), f"the file's setting {name}={value}")
        for name, value in contents.settings.items()
    ]
    run = contents.settings.get("name")
    if isinstance(run, str) and (said := RUN.search(run)):
        found.append(Setting("model", said[1], f"the name of its run, {run}"))
    for file in (path.parent.parent / PARAMS, path.parent / PARAMS):
        found += [Setting(name, _typed(value), f"{file} says {name}={value}") for name, value in _params(file).items()]
    if NAMED_QUICK.search(path.name):
        found.append(Setting("quick_gelu", True, f"its name, {path.name}"))
    return found


def activation(contents: Contents, settings: Sequence[Setting], hugging_face: Config) -> Activation | None:
    """The activation that the weights were trained with, or None where nothing says so.

    It is told by a setting, by the class of a pickled or scripted activation, by the tensors that only OpenAI's
    archives hold, or by `hidden_act` in the `config.json` beside Hugging Face's weights.
    """
    for setting in settings:
        if (quick := _says_activation(setting)) is not None:
            return Activation(quick, setting.source)
    classes = {origin.split(".")[-1]: origin for origin in contents.classes}
    for quick, names in ((True, QUICK), (False, EXACT)):
        for name in names:
            if name in classes:
                return Activation(quick, f"it holds objects of the class {classes[name]}")
    lasts = {name.split(".")[-1] for name in contents.tensors}
    if lasts.issuperset(OPENAI_NAMES):
        return Activation(True, "it is an archive of OpenAI")
    return _hidden_act(hugging_face)


def image_size(settings: Sequence[Setting]) -> ImageSize | None:
    """The size of the images that the weights were trained on, or None where no setting says so.

    A size of its own goes before the one that an architecture has, as `force_image_size` is beside `model`.
    """
    for setting in settings:
        if setting.name in SIZES and isinstance(setting.value, int) and setting.value > 1:
            return ImageSize(setting.value, setting.source)
    for setting in settings:
        side = (_architecture(setting) or {}).get("vision_cfg", {}).get("image_size")
        if isinstance(side, int):
            return ImageSize(side, setting.source)
    return None


def beside(path: Path) -> tuple[Config | None, Config]:
    """The `model_cfg` and `preprocess_cfg` of `open_clip_config.json` beside a file; None and nothing without one.

    Raises:
        CheckpointError: it is no such configuration.
    """
    file = path.parent / "open_clip_config.json"
    if not file.is_file():
        return None, {}
    found = _json(file)
    config, preprocess = found.get("model_cfg", found), found.get("preprocess_cfg") or {}
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise CheckpointError(f"{file}: no model_cfg; allowed: a configuration that open_clip wrote, or no such file")
    fault = forms.model_fault(config) or forms.preprocess_fault(preprocess)
    if fault is not None:
        raise CheckpointError(f"{file}: {fault}; allowed: a configuration that open_clip wrote, or no such file")
    return config, preprocess


def model_type(path: Path) -> str | None:
    """What kind of model the config.json of Hugging Face beside a file says it is; None: it says nothing.

    Raises:
        CheckpointError: it is no JSON.
    """
    file = path.parent / "config.json"
    kind = _json(file).get("model_type") if file.is_file() else None
    return kind if isinstance(kind, str) else None


def hugging_face_config(path: Path) -> Config:
    """The configuration of a Hugging Face CLIP model beside a file; empty without one.

    Raises:
        CheckpointError: it is no such configuration.
    """
    if model_type(path) != "clip":
        return {}
    file = path.parent / "config.json"
    config = _json(file)
    fault = forms.hugging_face_fault(config)
    if fault is not None:
        raise CheckpointError(f"{file}: {fault}; allowed: a configuration that transformers wrote, or no such file")
    return config


def pixels_beside(path: Path) -> dict[str, tuple[float, ...]]:
    """The `mean` and `std` of pixels in Hugging Face's preprocessor_config.json beside a file; empty without one.

    Raises:
        CheckpointError: it is no JSON, or its numbers are none of pixels from 0 to 1.
    """
    file = path.parent / "preprocessor_config.json"
    said = _json(file) if file.is_file() else {}
    found = {ours: said[f"image_{ours}"] for ours in ("mean", "std") if said.get(f"image_{ours}") is not None}
    for name, value in found.items():
        numbers = isinstance(value, list) and len(value) == 3 and all(type(x) in (int, float) for x in value)
        if not (numbers and all(0 <= x <= 1 for x in value) and (name == "mean" or all(value))):
            allowed = "three numbers from 0 to 1, as of pixels in that range, a deviation above 0"
            raise CheckpointError(f"{file}: image_{name} is {value!r}; allowed: {allowed}")
    return {name: tuple(value) for name, value in found.items()}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = from_json(read_text(file, SIZE))
    except (OSError, ValueError, RecursionError) as error:
        reason = on_a_line(str(error))
        raise CheckpointError(f"{file}: not readable as JSON: {reason}; allowed: JSON, or no such file") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file}: a {type(found).__name__}; allowed: a JSON object, or no such file")
    return found


def _hidden_act(config: Config) -> Activation | None:
    """What Hugging Face's configuration says; `quick_gelu` is its default, which newer files leave out."""
    if not config:
        return None
    towers = [config.get(name) or {} for name in ("text_config", "vision_config")]
    acts = {tower.get("hidden_act", "quick_gelu") for tower in towers}
    act = sorted(acts)[0]
    if len(acts) > 1 or act not in ("gelu", "quick_gelu"):
        return None
    return Activation(act == "quick_gelu", f"the config.json beside it says hidden_act={act}")


def _says_activation(setting: Setting) -> bool | None:
    """Whether a setting says QuickGELU, or GELU, by itself or as the name of an architecture; None: neither."""
    name, value, _ = setting
    if name == "quick_gelu" and isinstance(value, bool):
        return value
    if name == "hidden_act" and value in ("gelu", "quick_gelu"):
        return bool(value == "quick_gelu")
    forced = name == "force_quick_gelu" and value is True
    return True if forced or (_architecture(setting) or {}).get("quick_gelu") else None  # GELU may have been overridden


def _architecture(setting: Setting) -> Config | None:
    """The configuration of open_clip that a setting names, as its command line takes names; None: it names none."""
    if setting.name not in MODEL_SETTINGS or not isinstance(setting.value, str):
        return None
    name = setting.value.replace("/", "-")
    return open_clip.get_model_config(name) if name in open_clip.list_models() else None


def _typed(value: Any) -> Any:
    """A setting as it was meant where it is kept as a text, as in the header of safetensors."""
    if not isinstance(value, str):
        return value
    return {"true": True, "false": False}.get(value.lower(), int(value) if whole(value) is not None else value)


def _params(file: Path) -> dict[str, str]:
    """The settings in a file of lines `name: value` among which is a model; nothing where there is no such file."""
    try:
        lines = read_text(file, SIZE).splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.partition(": ") for line in lines)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    return found if "model" in found else {}
