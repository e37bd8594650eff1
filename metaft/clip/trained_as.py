"""How a checkpoint's weights were trained, where the file or a configuration beside it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import open_clip

from metaft.clip import forms
from metaft.clip.architecture import Config
from metaft.clip.contents import Contents
from metaft.errors import CheckpointError, on_a_line
from metaft.files import from_json
from metaft.texts import read_text

SIZE = 2**20  # letters of a configuration
OPENAI_NAMES = ("input_resolution", "context_length", "vocab_size")
QUICK = ("QuickGELU", "QuickGELUActivation")
EXACT = ("GELU", "GELUActivation")
MODEL_SETTINGS = ("model", "model_name", "arch", "architecture")


class Activation(NamedTuple):
    """Whether the activation was QuickGELU, or GELU, and what says so."""

    quick: bool
    source: str


def activation(contents: Contents, hugging_face: Config) -> Activation | None:
    """The activation that the weights were trained with, or None where nothing says so.

    It is told by a setting in the file, by the class of a pickled or scripted activation, by the tensors that only
    OpenAI's archives hold, or by `hidden_act` in the `config.json` beside Hugging Face's weights.
    """
    for name, value in contents.settings.items():
        if _says_activation(name.split(".")[-1], value):
            return Activation(value is not False, f"the file's setting {name}={value}")
    classes = {origin.split(".")[-1]: origin for origin in contents.classes}
    for quick, names in ((True, QUICK), (False, EXACT)):
        for name in names:
            if name in classes:
                return Activation(quick, f"it holds objects of the class {classes[name]}")
    lasts = {name.split(".")[-1] for name in contents.tensors}
    if lasts.issuperset(OPENAI_NAMES):
        return Activation(True, "it is an archive of OpenAI")
    return _hidden_act(hugging_face)


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


def hugging_face_config(path: Path) -> Config:
    """The configuration of a Hugging Face CLIP model beside a file; empty without one.

    Raises:
        CheckpointError: it is no such configuration.
    """
    file = path.parent / "config.json"
    config = _json(file) if file.is_file() else {}
    if config.get("model_type") != "clip":
        return {}
    fault = forms.hugging_face_fault(config)
    if fault is not None:
        raise CheckpointError(f"{file}: {fault}; allowed: a configuration that transformers wrote, or no such file")
    return config


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


def _says_activation(name: str, value: Any) -> bool:
    """Whether a setting tells the activation: by itself, or as open_clip's name of an architecture with QuickGELU."""
    if name in MODEL_SETTINGS and isinstance(value, str) and value in open_clip.list_models():
        return bool(open_clip.get_model_config(value).get("quick_gelu"))
    return (name == "quick_gelu" and isinstance(value, bool)) or (name == "force_quick_gelu" and value is True)
