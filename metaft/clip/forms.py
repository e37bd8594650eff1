"""The forms of configurations beside checkpoints: types, and sizes that a model can have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from open_clip import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from metaft.errors import on_a_line

Config = Mapping[str, Any]

# Far beyond the largest models that there are; what is larger would be made before its weights are seen not to fit.
LARGEST = {"layers": 512, "width": 2**14, "vocab_size": 2**22, "context_length": 2**14, "image_size": 2**12}
LARGEST |= {"embed_dim": 2**14, "patch_size": 2**12, "mlp_ratio": 64, "heads": 2**10, "attn_pooler_queries": 2**14}
FIXED = {"vision_cfg": TypeAdapter(CLIPVisionCfg), "text_cfg": TypeAdapter(CLIPTextCfg)}
PREPROCESS = TypeAdapter(PreprocessCfg)


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Model(_Form):
    embed_dim: Annotated[int, Field(ge=1, le=LARGEST["embed_dim"])]
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]
    multimodal_cfg: dict[str, Any] | None = None
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float = 0.0
    init_logit_bias: float | None = None


_Side = Annotated[int, Field(ge=1, le=LARGEST["image_size"])]
_Channels = tuple[float, float, float]
_Positive = Annotated[float, Field(gt=0)]


class _Preprocess(_Form):
    size: _Side | tuple[_Side, _Side] = 224
    mean: _Channels = (0.0, 0.0, 0.0)
    std: tuple[_Positive, _Positive, _Positive] = (1.0, 1.0, 1.0)
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: Annotated[int, Field(ge=0, le=255)] = 0


_Size = Annotated[int, Field(ge=1, le=2**22)]


class Tower(_Form):
    """A tower of Hugging Face's CLIP; sizes that a file leaves out are those of `transformers.CLIPConfig`."""

    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    hidden_size: _Size
    intermediate_size: _Size
    num_hidden_layers: _Size = 12
    num_attention_heads: _Size


class Vision(Tower):
    """Its image tower."""

    hidden_size: _Size = 768
    intermediate_size: _Size = 3072
    num_attention_heads: _Size = 12
    image_size: _Size = 224
    patch_size: _Size = 32


class Text(Tower):
    """Its text tower."""

    hidden_size: _Size = 512
    intermediate_size: _Size = 2048
    num_attention_heads: _Size = 8
    vocab_size: _Size = 49408
    max_position_embeddings: _Size = 77


class HuggingFace(_Form):
    """Its configuration."""

    projection_dim: _Size = 512
    text_config: Text | None = None
    vision_config: Vision | None = None


def model_fault(config: Config) -> str | None:
    """What is wrong with open_clip's `model_cfg`, in words; None where nothing is."""
    parts = [(f"{name}.", config[name], form) for name, form in FIXED.items()]
    return _fault("", config, TypeAdapter(_Model)) or next(
        (fault for place, part, form in parts if (fault := _too_large(place, part) or _fault(place, part, form))), None
    )


def preprocess_fault(config: Any) -> str | None:
    """What is wrong with open_clip's `preprocess_cfg`, in words; None where nothing is."""
    return _fault("preprocess_cfg.", config, TypeAdapter(_Preprocess)) or _fault("preprocess_cfg.", config, PREPROCESS)


def hugging_face_fault(config: Config) -> str | None:
    """What is wrong with the configuration of a CLIP model of Hugging Face, in words; None where nothing is."""
    return _fault("", config, TypeAdapter(HuggingFace))


def _too_large(place: str, part: Config) -> str | None:
    """The first size that no model has."""
    for name, value in part.items():
        sizes = value if isinstance(value, list) else [value]
        odd = [s for s in sizes if isinstance(s, int | float) and not 0 <= s <= LARGEST.get(name, 2**31)]
        if odd and name in LARGEST:
            return f"{place}{name} is {on_a_line(str(odd[0]))} (allowed: up to {LARGEST[name]:,})"
    return None


def _fault(place: str, part: Any, form: TypeAdapter[Any]) -> str | None:
    """Where a part, but for what is null, has another form."""
    given = {name: value for name, value in part.items() if value is not None} if isinstance(part, dict) else part
    try:
        form.validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        return on_a_line(f"{place}{'.'.join(map(str, first['loc']))}: {first['msg']}")
    return None
