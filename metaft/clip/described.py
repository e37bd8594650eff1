"""The architecture that Hugging Face's config.json describes, by open_clip's name of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path

from metaft.clip import architecture, forms, trained_as
from metaft.clip.architecture import Config
from metaft.errors import CheckpointError

EPS = 1e-5  # of open_clip's layer norms
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
OWN = {"vision": ("image_size", "patch_size"), "text": ("vocab_size", "max_position_embeddings")}


def architecture_in(folder: Path) -> str:
    """open_clip's name of the architecture that config.json in a folder describes.

    Raises:
        CheckpointError: it cannot be read, or describes none that open_clip has; the text says what it does.
    """
    file = folder / "config.json"
    found = trained_as.hugging_face_config(file)
    if not found:
        kind = trained_as.model_type(file)
        said = "no model_type" if kind is None else f"model_type={kind!r}"
        raise CheckpointError(f"{file}: it says {said}; allowed: 'clip', or open_clip_config.json beside it")
    config = forms.HuggingFace.model_validate(found)
    vision, text = config.vision_config or forms.Vision(), config.text_config or forms.Text()
    names = architecture.same(_translated(config, vision, text)) if _is_usual(vision, text) else []
    if not names:
        allowed = "what open_clip has an architecture for, or --model with one that the weights fit"
        said = _said(config, {"vision": vision, "text": text})
        raise CheckpointError(f"{file}: it says {said}; allowed: {allowed}")
    return names[0]


def _translated(config: forms.HuggingFace, vision: forms.Vision, text: forms.Text) -> Config:
    """Hugging Face's sizes as open_clip's configuration has them."""
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "layers": vision.num_hidden_layers,
            "mlp_ratio": _ratio(vision),
        },
        "text_cfg": {
            "vocab_size": text.vocab_size,
            "context_length": text.max_position_embeddings,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": _ratio(text),
        },
    }


def _ratio(tower: forms.Tower) -> float:
    """How much wider a block is in its middle; in four digits, up, as open_clip has 4.3637 for 6144 of 1408."""
    return ceil(10_000 * tower.intermediate_size / tower.hidden_size) / 10_000


def _is_usual(vision: forms.Tower, text: forms.Tower) -> bool:
    """Whether towers have one activation, of those that open_clip has, and its layer norms."""
    alike = vision.hidden_act == text.hidden_act and vision.hidden_act in ("gelu", "quick_gelu")
    return alike and vision.layer_norm_eps == text.layer_norm_eps == EPS


def _said(config: forms.HuggingFace, towers: Mapping[str, forms.Tower]) -> str:
    """What tells architectures apart, in the words of the file."""
    parts = [f"projection_dim={config.projection_dim}"]
    for name, tower in towers.items():
        eps = () if tower.layer_norm_eps == EPS else ("layer_norm_eps",)
        keys = ("hidden_act", *SIZES, *OWN[name], *eps)
        parts.append(f"{name}_config " + " ".join(f"{key}={getattr(tower, key)}" for key in keys))
    return ", ".join(parts)
