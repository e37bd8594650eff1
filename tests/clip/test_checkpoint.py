"""What a file is, when it is no checkpoint, or none any more."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from metaft.clip.checkpoint import read
from metaft.errors import CheckpointError

STATE = {"a": torch.arange(4096.0), "b": torch.ones(3)}


def torch_bytes(found, path, **options):
    torch.save(found, path, **options)
    return path.read_bytes()


def half(content):
    return content[: len(content) // 2]


FORMS = {
    "empty": (lambda p: b"", "it is an empty file (0 bytes)"),
    "HTML": (lambda p: b"\n<!DOCTYPE html><html><body>Not found", "it is an HTML page"),
    "html with a mark": (lambda p: "\ufeff<HTML lang=en>".encode(), "it is an HTML page"),
    "XML": (lambda p: b"<?xml version='1.0'?><Error><Code>AccessDenied", "it is an XML or HTML document"),
    "LFS": (lambda p: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605\n", "a Git LFS pointer"),
    "text": (lambda p: b"Invalid username or password.\n", "it is a text beginning 'Invalid username"),
    "zeros": (lambda p: bytes(5000), "it is of an unknown form, beginning with the bytes 00 00"),
    "JSON": (lambda p: json.dumps({"model_type": "clip"}).encode(), "it is a JSON file"),
    "JSON list": (lambda p: b"[1, 2]", "it is a JSON file"),
    "broken JSON": (lambda p: b'{"model_type"', "damaged or half a download"),
    "picture": (lambda p: b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    "bzip2": (lambda p: b"BZh91AY", "compressed by bzip2"),
    "half a zip": (lambda p: half(torch_bytes(STATE, p)), "half a download"),
    "half an old file": (
        lambda p: half(torch_bytes(STATE, p, _use_new_zipfile_serialization=False)),
        "damaged or half a download",
    ),
    "half a pickle": (lambda p: half(pickle.dumps(STATE)), "damaged or half a download"),
    "half a safetensors": (lambda p: half(save(STATE)), "half a download: "),
    "half a header": (lambda p: save(STATE)[:40], "half a download: 40 of"),
    "a broken header": (lambda p: (9).to_bytes(8, "little") + b"{" + bytes(8), "damaged or half a download"),
    "an empty dict": (lambda p: torch_bytes({}, p), "it is an empty dict, without tensors"),
    "no tensors": (lambda p: torch_bytes({"epoch": 3, "args": "x"}, p), "a dict of 2 entries ('epoch', 'args')"),
    "a number": (lambda p: torch_bytes(3, p), "it is 3 (int), without tensors"),
    "an empty list": (lambda p: torch_bytes([], p), "it is a list of 0 items without names"),
    "no safetensors": (lambda p: save({}), "it is tensors by name, without tensors"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["pt", "safetensors", "bin"])
def test_other_forms_are_named(form, ending, tmp_path):
    make, words = FORMS[form]
    path = tmp_path / f"c.{ending}"
    path.write_bytes(make(tmp_path / "made"))
    with pytest.raises(CheckpointError, match=r"allowed: a safetensors file, a file of torch\.save") as caught:
        read(path)
    text = str(caught.value)
    assert words in text
    assert text.startswith(f"model.pretrained: {str(path)!r} cannot be loaded: it is ")
    assert len(text.splitlines()) == 1


def test_archives_of_other_things(tmp_path):
    np.savez(tmp_path / "c.npz", **{name: tensor.numpy() for name, tensor in STATE.items()})
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("checkpoint.pt", b"weights")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "c.zip", "c.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    np.save(tmp_path / "c.npy", np.ones(3))
    words = {
        "c.npz": r"a numpy archive of 2 entries, such as a\.npy, b\.npy",
        "c.zip": r"a zip archive of 1 entries, such as checkpoint\.pt \(unpack it first\)",
        "c.tar": "a tar archive",
        "empty.zip": "an empty zip archive",
        "c.npy": "a numpy array",
    }
    for name, pattern in words.items():
        with pytest.raises(CheckpointError, match=pattern):
            read(tmp_path / name)


def test_folders_and_what_cannot_be_opened(tmp_path):
    with pytest.raises(CheckpointError, match=r"it is a folder \(give a file\)"):
        read(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"it is a folder \(give a file in it, such as model.safetensors\)"):
        read(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"model\.name=local-dir:"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "absent"):
        with pytest.raises(CheckpointError, match="it is no file"):
            read(tmp_path / name)


def test_the_bytes_tell_the_form_and_not_the_ending(tmp_path):
    torch.save(STATE, tmp_path / "c.safetensors")
    save_file(STATE, tmp_path / "c.pt", {"quick_gelu": "true"})
    (tmp_path / "c.bin").write_bytes(pickle.dumps(STATE))
    for path in tmp_path.iterdir():
        assert read(path).tensors.keys() == STATE.keys()
        assert all(torch.equal(read(path).tensors[name], tensor) for name, tensor in STATE.items())
    assert read(tmp_path / "c.pt").settings == {"quick_gelu": "true"}


def test_an_index_that_names_itself(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": {"a": "index.json"}}))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        read(tmp_path / "index.json")


def test_a_path_that_is_no_utf8(tmp_path):
    """Which safetensors does not open."""
    path = tmp_path / os.fsdecode(b"na\xefve.safetensors")
    try:
        path.write_bytes(save(STATE, {"step": "1"}))
    except OSError:
        pytest.skip("no such names here")
    found = read(path)
    assert torch.equal(found.tensors["a"], STATE["a"])
    assert found.settings == {"step": "1"}


def test_a_joblib_file_is_no_half_download(tmp_path):
    joblib = pytest.importorskip("joblib")
    joblib.dump({name: t.numpy() for name, t in STATE.items()}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="it is a joblib file, of numpy arrays"):
        read(tmp_path / "c.pt")
