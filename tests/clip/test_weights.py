"""Weights that are of another model than the one that was named."""

from __future__ import annotations

import argparse
import copy
import json
import math

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metaft.clip import weights
from metaft.clip.embedded import checkpoint
from metaft.clip.load import RANDOM, load
from metaft.clip.names import TOY
from metaft.errors import CheckpointError
from tests.clip.architectures import added

TOY_CONFIG = open_clip.get_model_config(TOY)


def variant(**changes):
    """The toy's configuration with other settings, `vision_cfg` and `text_cfg` merged."""
    config = copy.deepcopy(TOY_CONFIG)
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    return config


@pytest.fixture
def quick(tmp_path):
    """The toy with QuickGELU, by the name `toy-clip-quickgelu`."""
    (tmp_path / "configs").mkdir()
    with added("toy-clip-quickgelu", variant(quick_gelu=True), tmp_path / "configs"):
        yield open_clip.create_model("toy-clip-quickgelu").eval()


@pytest.fixture
def toy():
    return open_clip.create_model(TOY, pretrained=str(checkpoint(TOY, 0))).eval()


def refused(name, path):
    with pytest.raises(CheckpointError, match="allowed: ") as caught:
        load(name, str(path))
    text = str(caught.value)
    assert text.startswith(f"model.pretrained: {str(path)!r} cannot be loaded into {name!r}: ")
    assert caught.value.exit_code == 3
    return text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_weights_that_are_not_finite(value, toy, tmp_path):
    state = {name: t.double() for name, t in toy.state_dict().items()}
    state["visual.proj"][0, :3] = value
    torch.save(state, tmp_path / "c.pt")
    assert f"visual.proj has 3 of {toy.visual.proj.numel()} values that are NaN or infinite" in refused(
        TOY, tmp_path / "c.pt"
    )
    state["ln_final.bias"][0] = value
    torch.save(state, tmp_path / "c.pt")
    assert f"2 tensors of {len(state)} have such values" in refused(TOY, tmp_path / "c.pt")


def test_parts_of_deepspeed_are_named_with_what_puts_them_together(toy, tmp_path):
    """Of ZeRO's third stage, whose states of a model hold names alone."""
    state = {name: torch.empty(0, dtype=torch.bfloat16) for name in toy.state_dict()}
    torch.save({"module": state, "ds_version": "0.14.2", "param_shapes": []}, tmp_path / "mp_rank_00_model_states.pt")
    text = refused(TOY, tmp_path / "mp_rank_00_model_states.pt")
    assert f"{len(state)} of {len(state)} tensors are empty (" in text
    assert "as of DeepSpeed's ZeRO stage 3; allowed: whole tensors: zero_to_fp32.py" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.to(torch.int8), "visual.proj is stored as torch.int8, as quantised weights are"),
        (lambda t: t.to_sparse(), "visual.proj is sparse"),
        (lambda t: t.to("meta"), "visual.proj is without values"),
    ],
)
def test_tensors_that_are_no_weights(change, words, toy, tmp_path):
    state = {**toy.state_dict(), "visual.proj": change(toy.visual.proj.detach())}
    torch.save(state, tmp_path / "c.pt")
    assert words in refused(TOY, tmp_path / "c.pt")


def test_the_configuration_beside_the_file(toy, quick, tmp_path):
    save_file(toy.state_dict(), tmp_path / "open_clip_model.safetensors")
    path, config = tmp_path / "open_clip_model.safetensors", tmp_path / "open_clip_config.json"

    def says(model, **preprocess):
        config.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))

    says(TOY_CONFIG, mean=list(open_clip.OPENAI_DATASET_MEAN), size=[32, 32])
    load(TOY, str(path))
    says(variant(quick_gelu=True))
    text = refused(TOY, path)
    assert "open_clip_config.json beside it says quick_gelu=True, not False" in text
    assert f"allowed: model.name=toy-clip-quickgelu or model.name=local-dir:{tmp_path}" in text
    load("toy-clip-quickgelu", str(path))
    load(f"local-dir:{tmp_path}", None)
    for changes, words in (
        ({"embed_dim": 48}, "embed_dim=48, not 64"),
        ({"vision_cfg": {"image_size": 64}}, "vision_cfg.image_size=64, not 32"),
        ({"vision_cfg": {"image_size": 64}, "text_cfg": {"heads": 1}}, "; text_cfg.heads=1, not"),
        ({"custom": 1}, "custom=1, not None"),
    ):
        says(variant(**changes))
        assert words in refused(TOY, path)
    says(TOY_CONFIG, mean=[0.5, 0.5, 0.5])
    assert "mean=[0.5, 0.5, 0.5], not" in refused(TOY, path)
    for content, words in (("{", "not readable as JSON"), ("[]", "a list"), ('{"model_cfg": {}}', "no model_cfg")):
        config.write_text(content)
        with pytest.raises(CheckpointError, match=words):
            load(TOY, str(path))


def scripted(model, path, **buffers):
    model = copy.deepcopy(model).half()
    for name, value in buffers.items():
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    torch.jit.script(model).save(path)


@pytest.mark.filterwarnings("ignore")  # of scripting
def test_scripted_archives_say_their_activation(toy, quick, tmp_path):
    sizes = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
    with torch.no_grad():
        scripted(quick, tmp_path / "quick.pt", **sizes)
        scripted(toy, tmp_path / "exact.pt")
    loaded = load("toy-clip-quickgelu", str(tmp_path / "quick.pt")).model.state_dict()
    assert all(torch.equal(loaded[name], t.half().float()) for name, t in quick.state_dict().items())
    text = refused(TOY, tmp_path / "quick.pt")
    assert "it was trained with QuickGELU" in text
    assert "allowed: model.name=toy-clip-quickgelu" in text
    load(TOY, str(tmp_path / "exact.pt"))
    assert "trained with GELU" in refused("toy-clip-quickgelu", tmp_path / "exact.pt")


@pytest.mark.parametrize("of", ["quick", "exact"])
def test_whole_modules_say_their_activation(of, toy, quick, tmp_path):
    torch.save({"model": quick if of == "quick" else toy}, tmp_path / "c.pt")
    right, wrong = ("toy-clip-quickgelu", TOY) if of == "quick" else (TOY, "toy-clip-quickgelu")
    load(right, str(tmp_path / "c.pt"))
    assert f"allowed: model.name={right}" in refused(wrong, tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"quick_gelu": True}, "setting quick_gelu=True"),
        ({"hyper_parameters": {"quick_gelu": True}}, "setting hyper_parameters.quick_gelu=True"),
        ({"args": argparse.Namespace(force_quick_gelu=True)}, "setting args.force_quick_gelu=True"),
        ({"args": argparse.Namespace(model="toy-clip-quickgelu")}, "args.model=toy-clip-quickgelu"),
        ({"input_resolution": 32, "context_length": 77, "vocab_size": 3}, "an archive of OpenAI"),
    ],
)
def test_settings_in_the_file_say_its_activation(beside, words, toy, quick, tmp_path):
    tensors = {name: torch.tensor(v) if name in weights.trained_as.OPENAI_NAMES else v for name, v in beside.items()}
    torch.save({"state_dict": toy.state_dict(), **tensors}, tmp_path / "c.pt")
    assert words in refused(TOY, tmp_path / "c.pt")
    load("toy-clip-quickgelu", str(tmp_path / "c.pt"))


def test_an_activation_without_a_name(toy, tmp_path):
    torch.save({"state_dict": toy.state_dict(), "quick_gelu": True}, tmp_path / "c.pt")
    assert "allowed: local-dir:FOLDER whose open_clip_config.json has quick_gelu=true" in refused(
        TOY, tmp_path / "c.pt"
    )


def test_weights_of_another_architecture_that_has_a_name(tmp_path):
    wide = variant(vision_cfg={"width": 192, "layers": 2})
    with added("toy-wide", wide, tmp_path), added("toy-wide-quickgelu", {**wide, "quick_gelu": True}, tmp_path):
        torch.save(open_clip.create_model("toy-wide").state_dict(), tmp_path / "c.pt")
        text = refused(TOY, tmp_path / "c.pt")
        assert "it is of another architecture: 24 missing" in text
        assert "allowed: model.name=toy-wide or a checkpoint of 'toy-clip'" in text


def test_numpy_archives_of_big_vision(tmp_path):
    np.savez(tmp_path / "c.npz", **{"params/img/embedding/kernel": np.ones(3), "params/b": np.ones(1)})
    assert "a numpy archive of big_vision, which does not fit" in refused(TOY, tmp_path / "c.npz")


def test_what_is_saved_of_a_loaded_model_loads(tmp_path):
    clip = load(TOY, RANDOM)
    torch.save(nn.ModuleDict({"clip": clip.model, "head": nn.Linear(2, 2)}), tmp_path / "c.pt")
    again = load(TOY, str(tmp_path / "c.pt"))
    assert torch.equal(again.model.visual.proj, clip.model.visual.proj)
