"""Configurations beside checkpoints, of open_clip and of Hugging Face: a model as they say, or a CheckpointError."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
from hypothesis import strategies as st

from metaft.clip import trained_as
from metaft.clip.contents import Contents
from metaft.clip.embedded import checkpoint
from metaft.clip.load import load
from metaft.clip.names import TOY
from metaft.clip.weights import Target, _refuse_other_configuration
from metaft.progress import be_quiet
from tests.fuzz.cases import FEWER, SLOW, SNIPPETS, end_of, fuzzed, mutated
from tests.fuzz.test_journal import VALUES, places

CONFIG = open_clip.get_model_config(TOY)
PREPROCESS = {"size": 16, "mean": [0.1, 0.2, 0.3], "std": [1, 0.5, 1], "interpolation": "bicubic", "fill_color": 0}
MORE = {"patch_dropout": 0.0, "layers": [1, 2, 3, 4], "act_kwargs": {}, "timm_model_name": None, "mlp_ratio": 4.0}
OPEN_CLIP: tuple[dict[str, Any], ...] = (
    {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}},
    {"model_cfg": {**CONFIG, "quick_gelu": True, "vision_cfg": {**CONFIG["vision_cfg"], **MORE}}},
    {"model_cfg": {**CONFIG, "multimodal_cfg": {"width": 64}, "init_logit_scale": 2.0}, "preprocess_cfg": PREPROCESS},
    CONFIG,
)
HUGGING_FACE: tuple[dict[str, Any], ...] = (
    {"model_type": "clip", "text_config": {"hidden_act": "gelu"}, "vision_config": {"hidden_act": "gelu"}},
    {"model_type": "clip", "text_config": {"hidden_act": "quick_gelu", "layers": 2}, "vision_config": None},
    {"model_type": "bert", "text_config": [1]},
)


@pytest.fixture(autouse=True)
def _quiet():
    be_quiet(True)


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[dict[str, Any], ...]) -> str:
    """A configuration of which some values are others, in JSON."""
    made = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    odd = {}
    for number in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from([("more",), *places(made)]))
        node = made
        for key in way:
            node = node[key]
        if draw(st.integers(0, 3)):
            odd[f'"@{number}@"'] = draw(VALUES)
            node[last] = f"@{number}@"
        else:
            node.pop(last) if isinstance(node, list) else node.pop(last, None)
    text = json.dumps(made)
    for mark, value in odd.items():
        text = text.replace(mark, value)
    return text


def texts(seeds: tuple[dict[str, Any], ...]) -> st.SearchStrategy[str]:
    return changed(seeds) | changed(seeds) | mutated([json.dumps(seed) for seed in seeds], SNIPPETS)


@cache
def model() -> Any:
    return open_clip.create_model(TOY, pretrained=str(checkpoint(TOY, 0)))


@fuzzed(texts(OPEN_CLIP))
def test_of_open_clip(folder: Path, text: str) -> None:
    (folder / "open_clip_config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    target = Target(model(), folder / "any.pt", TOY, CONFIG)
    if end_of(lambda: trained_as.beside(folder / "any.pt")) is not None:
        end_of(lambda: _refuse_other_configuration(target))


@fuzzed(texts(HUGGING_FACE), few=FEWER)
def test_of_hugging_face(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    found = end_of(lambda: trained_as.hugging_face_config(folder / "any.bin"))
    if found is not None:
        said = trained_as.activation(Contents({}), [], found)
        assert said is None or isinstance(said.quick, bool)


@fuzzed(changed(OPEN_CLIP), few=5, many=SLOW)
@pytest.mark.filterwarnings("default")
def test_models(folder: Path, text: str) -> None:
    """Opened with the toy's weights, or refused."""
    (folder / "open_clip_config.json").write_text(text)
    if not (folder / "open_clip_model.safetensors").exists():
        os.link(checkpoint(TOY, 0), folder / "open_clip_model.safetensors")
    found = end_of(lambda: load(f"local-dir:{folder}", None))
    assert found is None or found.model.visual.proj.shape == model().visual.proj.shape
