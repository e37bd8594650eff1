"""Wrapped checkpoints give the weights that open_clip gives for the plain ones."""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import pickle
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from metaft.clip import weights
from metaft.clip.embedded import checkpoint
from metaft.clip.load import load
from metaft.clip.names import TOY
from metaft.errors import CheckpointError
from tests.clip.wrapped import dump_wise_ft, passing_module, prefixed
from tests.conftest import by_default


@pytest.fixture(scope="module")
def toy():
    """The toy's weights by name, as open_clip loads them."""
    return open_clip.create_model(TOY, pretrained=str(checkpoint(TOY, 0))).eval()


@pytest.fixture
def notes(monkeypatch):
    said = []
    monkeypatch.setattr(weights, "tell", said.append)
    return said


def same(clip, state):
    loaded = clip.model.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], t) for name, t in state.items())


def other(state):
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


WRAPPED = {
    "DataParallel": (lambda sd: prefixed(sd, "module."), ["'module' (DataParallel)"]),
    "compiled": (
        lambda sd: {"state_dict": prefixed(sd, "_orig_mod.")},
        ["'state_dict'", "'_orig_mod' (torch.compile)"],
    ),
    "both": (lambda sd: {"state_dict": prefixed(sd, "module._orig_mod.")}, ["state_dict", "module", "_orig_mod"]),
    "compiled inside": (
        lambda sd: {name.replace("visual.", "visual._orig_mod."): t for name, t in sd.items()},
        ["_orig_mod"],
    ),
    "FSDP inside": (
        lambda sd: {name.replace("resblocks.1.", "resblocks.1._fsdp_wrapped_module."): t for name, t in sd.items()},
        ["FSDP"],
    ),
    "model": (lambda sd: {"model": sd, "epoch": 3}, ["undone: 'model'"]),
    "model_state_dict": (lambda sd: {"model_state_dict": sd, "loss": 0.1}, ["undone: 'model_state_dict'"]),
    "Lightning": (
        lambda sd: {"state_dict": {**prefixed(sd, "model."), "criterion.weight": torch.ones(2)}, "epoch": 1},
        ["'state_dict', 'model'", "left out: 'criterion'"],
    ),
    "Lightning clip": (lambda sd: {"state_dict": prefixed(sd, "clip.")}, ["'clip'"]),
    "Lightning net": (lambda sd: {"state_dict": prefixed(sd, "net.model.")}, ["'net', 'model'"]),
    "wise-ft": (
        lambda sd: {**prefixed(sd, "image_encoder.model."), "classification_head.weight": torch.zeros(2, 64)},
        ["'image_encoder', 'model'", "left out: 'classification_head'"],
    ),
    "a head without a prefix": (
        lambda sd: {**sd, "classification_head.weight": torch.zeros(2, 64)},
        ["left out: 'classification_head'"],
    ),
    "DeepSpeed": (lambda sd: {"module": sd, "optimizer": None, "ds_version": "0.9"}, ["'module'"]),
    "EMA alone": (lambda sd: {"ema": sd, "step": 10}, ["'ema' (a moving average)"]),
    "timm's EMA": (lambda sd: {"model_ema": prefixed(sd, "module.")}, ["'model_ema' (a moving average)"]),
    "EMA beside": (
        lambda sd: {"state_dict": sd, "ema_state_dict": other(sd)},
        ["undone: 'state_dict'", "left out: 'ema_state_dict'"],
    ),
    "EMA before": (lambda sd: {"state_dict_ema": other(sd), "state_dict": sd}, ["left out: 'state_dict_ema'"]),
    "averaged": (lambda sd: {**prefixed(sd, "module."), "n_averaged": torch.tensor(3)}, ["'module'"]),
    "the text tower of its own": (
        lambda sd: {n if n.startswith("visual.") or n == "logit_scale" else f"text.{n}": t for n, t in sd.items()},
        [],
    ),
    "a scale with one axis": (lambda sd: {**sd, "logit_scale": sd["logit_scale"][None]}, []),
    "position ids": (lambda sd: {**sd, "text.transformer.embeddings.position_ids": torch.arange(3)}, []),
    "an optimizer": (
        lambda sd: {"state_dict": sd, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        ["left out: 'optimizer'"],
    ),
    "a tuple": (lambda sd: (sd, 3), ["undone: '0'"]),
    "a Namespace beside": (lambda sd: {"state_dict": sd, "args": argparse.Namespace(lr=1)}, ["'state_dict'"]),
    "a numpy scalar beside": (lambda sd: {"state_dict": sd, "best": np.float64(0.3)}, ["'state_dict'"]),
    "numpy's generator beside": (lambda sd: {"state_dict": sd, "rng": np.random.get_state()}, ["'state_dict'"]),
    "a bare namespace": (lambda sd: SimpleNamespace(model=sd), ["'model'"]),
    "parameters": (lambda sd: {name: nn.Parameter(t) for name, t in sd.items()}, []),
    "float64": (lambda sd: {name: t.double() for name, t in sd.items()}, []),
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("ending", by_default((".pt",), [".pt", ".bin"]))
def test_wrappings_are_undone_and_said(kind, ending, toy, notes, tmp_path):
    wrap, words = WRAPPED[kind]
    path = tmp_path / f"c{ending}"
    torch.save(wrap(toy.state_dict()), path, _use_new_zipfile_serialization=ending == ".pt")
    assert same(load(TOY, str(path)), toy.state_dict())
    assert len(notes) == bool(words)
    assert all(word in notes[0] and str(path) in notes[0] for word in words)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("save", [save_file, torch.save], ids=["safetensors", "torch"])
def test_half_precision(dtype, save, toy, notes, tmp_path):
    half = {name: t.to(dtype) for name, t in toy.state_dict().items()}
    save(half, tmp_path / "c.pt")  # an ending that says nothing about safetensors
    assert same(load(TOY, str(tmp_path / "c.pt")), {name: t.float() for name, t in half.items()})
    assert notes == []


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
def test_objects_of_wise_ft(plain, toy, notes, tmp_path):
    dump_wise_ft(toy, tmp_path / "c.pt", plain=plain)
    assert same(load(TOY, str(tmp_path / "c.pt")), toy.state_dict())
    assert "'image_encoder', 'model'" in notes[0]
    assert "left out: 'classification_head'" in notes[0]


def test_wise_ft_without_its_text_tower(toy, tmp_path):
    image_only = copy.deepcopy(toy)
    del image_only.transformer
    dump_wise_ft(image_only, tmp_path / "c.pt", plain=True)
    with pytest.raises(CheckpointError, match=r"missing \(transformer\.resblocks\.0.*without its text tower"):
        load(TOY, str(tmp_path / "c.pt"))


@pytest.mark.parametrize("protocol", by_default((2, 5), [2, 3, 4, 5]))
@pytest.mark.parametrize("wrap", [lambda m: m, AveragedModel, lambda m: {"model": m, "ema": copy.deepcopy(m)}])
def test_whole_modules(protocol, wrap, toy, tmp_path):
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(wrap(toy), protocol=protocol))
    assert same(load(TOY, str(tmp_path / "c.pkl")), toy.state_dict())
    torch.save(wrap(toy), tmp_path / "c.pt")
    assert same(load(TOY, str(tmp_path / "c.pt")), toy.state_dict())


@pytest.mark.parametrize("under", ["ema.", "module_ema.module."])
def test_an_average_beside_plain_names(under, toy, notes, tmp_path):
    """As programs leave it that keep it as a part of the model."""
    state = toy.state_dict()
    torch.save({**state, **prefixed(other(state), under)}, tmp_path / "a.pt")
    assert same(load(TOY, str(tmp_path / "a.pt"), "cpu"), state)
    assert "(a moving average)" in notes[0]


def test_an_average_kept_by_a_plain_object(toy, notes, tmp_path):
    class EMA:
        def __init__(self, model):
            self.decay, self.shadow, self.own = 0.9, dict(model.state_dict()), self

    with passing_module("averages_of_a_trainer", EMA=EMA):
        torch.save({"ema": EMA(toy), "config": {"lr": 1e-5}}, tmp_path / "c.pt")
    assert same(load(TOY, str(tmp_path / "c.pt")), toy.state_dict())
    assert "'shadow' (a moving average)" in notes[0]


def test_settings_of_classes_that_are_not_installed(toy, notes, tmp_path):
    class DictConfig(dict):
        def __init__(self, content):
            super().__init__(content)
            self._content = content

        def __reduce__(self):
            return type(self), (self._content,), {"_content": self._content}, None, iter(self.items())

    class Best(float):
        pass

    with passing_module("settings_library", DictConfig=DictConfig, Best=Best):
        found = {"state_dict": toy.state_dict(), "cfg": DictConfig({"lr": 1e-5}), "best": Best(0.3), "kind": Best}
        torch.save(found, tmp_path / "c.pt")
        torch.save(DictConfig({"net": toy.state_dict()}), tmp_path / "inside.pt")
    for name in ("c.pt", "inside.pt"):
        assert same(load(TOY, str(tmp_path / name)), toy.state_dict())
    assert "undone: 'net'" in notes[1]


def script(model, path):
    model = copy.deepcopy(model)
    model.output_dict = False
    inputs = (torch.zeros(1, 3, 32, 32), torch.zeros(1, model.context_length, dtype=torch.long))
    torch.jit.trace(model, inputs, check_trace=False, strict=False).save(path)


@pytest.mark.filterwarnings("ignore")  # of tracing
def test_torchscript_is_read_without_compiling(toy, tmp_path, monkeypatch):
    script(toy, tmp_path / "c.pt")
    monkeypatch.setattr(torch.jit, "load", None)
    assert same(load(TOY, str(tmp_path / "c.pt")), toy.state_dict())


def test_a_checkpoint_in_shards(toy, tmp_path):
    names = sorted(toy.state_dict())
    state = {name: t.contiguous() for name, t in toy.state_dict().items()}
    files = {name: f"model-{1 + i % 2}-of-2.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert same(load(TOY, str(index)), state)
    (tmp_path / "model-2-of-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"2 shards, of which model-2-of-2\.safetensors is not beside it"):
        load(TOY, str(index))


def test_names_of_another_model(toy, tmp_path):
    torch.save({"encoder.a": torch.ones(2), "encoder.b": torch.ones(2), "c": torch.ones(1)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError) as caught:
        load(TOY, str(tmp_path / "c.pt"))
    text = str(caught.value)
    first = ", ".join(list(toy.state_dict())[:3])
    assert f"no name is CLIP's: {len(toy.state_dict())} missing ({first}, ...)" in text
    assert "3 unexpected (encoder.a, encoder.b, c)" in text
    assert "\n" not in text


PARTS = {
    "the image tower": (lambda sd: {n: t for n, t in sd.items() if n.startswith("visual.")}, "without its text tower"),
    "no scale": (
        lambda sd: {n: t for n, t in sd.items() if n != "logit_scale"},
        "part of the model: 1 missing (logit_",
    ),
    "a bare image tower": (
        lambda sd: {n.removeprefix("visual."): t for n, t in sd.items() if n.startswith("visual.")},
        "it is an image tower alone: ",
    ),
    "a list": (lambda sd: list(sd.values()), "it is a list of 86 tensors without names; no name is CLIP's"),
    "a tensor": (lambda sd: sd["visual.proj"], "it is one tensor [96, 64] without a name"),
    "an optimizer": (
        lambda sd: {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        "(optimizer.state.0.exp_avg)",
    ),
    "an average by number": (lambda sd: {"shadow_params": list(sd.values())}, "(shadow_params.0, shadow_params.1,"),
    "an adapter": (
        lambda sd: {f"base_model.model.{n}.lora_A.weight": t for n, t in sd.items()},
        "lora_A.weight, ...); allowed: the model with its adapter merged",
    ),
    "a model beside its adapter": (
        lambda sd: {f"base_model.model.{n.replace('out_proj.', 'out_proj.base_layer.')}": t for n, t in sd.items()},
        "there are weights of an adapter (visual.transformer.resblocks.0.attn.out_proj.base_layer.weight, ",
    ),
    "numpy arrays": (lambda sd: {n: t.numpy() for n, t in sd.items()}, "with numpy arrays, without tensors"),
    "a head": (lambda sd: nn.Linear(64, 2), "an object of the class torch.nn.modules.linear.Linear; no name is CLIP's"),
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_a_model_are_refused(part, toy, tmp_path):
    make, words = PARTS[part]
    torch.save(make(toy.state_dict()), tmp_path / "c.pt")
    with pytest.raises(CheckpointError) as caught:
        load(TOY, str(tmp_path / "c.pt"))
    assert words in str(caught.value)


def test_what_is_packed_is_named(tmp_path):
    (tmp_path / "c.pt").write_bytes(gzip.compress(checkpoint(TOY, 0).read_bytes()))
    with pytest.raises(CheckpointError, match="compressed by gzip"):
        load(TOY, str(tmp_path / "c.pt"))


def test_the_embedded_weights_say_nothing(toy, notes):
    assert same(load(TOY, None), toy.state_dict())
    assert notes == []
    assert load_file(checkpoint(TOY, 0)).keys() == toy.state_dict().keys()


@pytest.mark.parametrize(
    ("two", "where"),
    [
        (lambda a, b: {"student": a, "teacher": b}, "under 'student' and under 'teacher'"),
        (lambda a, b: {"last": b, "best": a}, "under '(?:last|best)' and under '(?:last|best)'"),
        (lambda a, b: {"state_dict": a, "model": b}, "under 'model' and under 'state_dict'"),
        (lambda a, b: {**a, **prefixed(b, "module.")}, "at its top and under 'module'"),
        (lambda a, b: {**prefixed(b, "module."), **a}, "at its top and under 'module'"),
        (lambda a, b: {**a, **prefixed(dict(list(b.items())[:3]), "module.")}, r"\w+ twice, with 'module' \(Data"),
    ],
    ids=["student, teacher", "best, last", "two usual keys", "with a wrapper", "the other way round", "a part twice"],
)
def test_of_two_models_none_is_taken(toy, tmp_path, two, where):
    state = toy.state_dict()
    torch.save(two(state, other(state)), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=f"it holds (?:two models, )?.*{where}.*; allowed: one model"):
        load(TOY, str(tmp_path / "c.pt"))


@pytest.mark.parametrize(("usual", "beside"), [("model", "init"), ("weights", "grad"), ("state_dict", "best")])
def test_a_model_under_a_usual_key_is_meant(toy, tmp_path, usual, beside):
    state = toy.state_dict()
    for keys in ((usual, beside), (beside, usual)):
        torch.save({key: state if key == usual else other(state) for key in keys}, tmp_path / "c.pt")
        assert same(load(TOY, str(tmp_path / "c.pt")), state)
