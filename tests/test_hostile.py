"""Files made to harm: each is refused, and nothing in it is run, no process begun, no connection opened."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants as hub
import numpy as np
import pytest
import torch

from metaft.clip.export import CHECKSUM
from metaft.data.__main__ import main as data
from metaft.predict import main as predict
from metaft.report.__main__ import main as report
from metaft.run import main as run
from tests.clip.test_inert import Call, saved
from tests.conftest import SMALL
from tests.data.test_decode import bomb

ACTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")
HARM = "touch harm"
acts: list[str] | None = None


def _heard(event: str, arguments: object) -> None:
    if acts is not None and event in ACTS:
        acts.append(f"{event} {arguments}")


sys.addaudithook(_heard)  # stays for good, and hears nothing outside of `watched`


@contextmanager
def watched() -> Iterator[list[str]]:
    """A context that notes every process that begins and every connection."""
    global acts
    acts = []
    try:
        yield acts
    finally:
        acts = None


def checkpoint(content: Callable[[], bytes]) -> Callable[[Path], int]:
    def opened(folder: Path) -> int:
        (folder / "c.pt").write_bytes(content())
        return run(["--mode", "tpe", *SMALL, "model.pretrained=c.pt", "--out", "run"])

    return opened


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("c/data.pkl", pickle.dumps(Call(os.system, HARM)))
        archive.writestr("c/code/__torch__.py", f"import os\nos.system({HARM!r})\n")
    return buffer.getvalue()


def endless_header(folder: Path) -> int:
    (folder / "c.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    return run(["--mode", "tpe", *SMALL, "model.pretrained=c.safetensors", "--out", "run"])


def model_from_elsewhere(folder: Path) -> int:
    """A folder whose configuration names weights and a tokenizer on the network, with code beside it."""
    (folder / "m").mkdir()
    (folder / "m" / "load.py").write_text(f"import os\nos.system({HARM!r})\n")
    text = {"hf_model_name": "evil/model", "hf_tokenizer_name": "evil/tokenizer", "hf_model_pretrained": True}
    vision = {"timm_model_name": "hf-hub:evil/model", "timm_model_pretrained": True, "image_size": 32}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "m" / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "m" / "open_clip_model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    return run(["--mode", "tpe", *SMALL, "model.name=local-dir:m", "--out", "run"])


def settings(folder: Path) -> int:
    (folder / "c.yaml").write_text(f"seed: !!python/object/apply:os.system ['{HARM}']\n")
    return run(["--mode", "tpe", "--config", "c.yaml"])


def objective(folder: Path) -> int:
    (folder / "o.yaml").write_text(f"version: 1\nterms: {{ce: 1}}\nlr: !!python/object/apply:os.system ['{HARM}']\n")
    return run(["--objective", "o.yaml", *SMALL])


def aliases(folder: Path) -> int:
    """Lists of lists, nine to the ninth of them."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (folder / "c.yaml").write_text("\n".join(lines))
    return run(["--mode", "tpe", "--config", "c.yaml"])


def pickled_arrays(folder: Path) -> int:
    """CIFAR-10's batches, which are pickles."""
    (folder / "cifar-10-batches-py").mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({"labels": Call(os.system, HARM)}))
    return run(["--mode", "tpe", "data.format=cifar10", "data.root=.", "--out", "run"])


def arrays_of_objects(folder: Path) -> int:
    (folder / "id_train.npy").write_bytes(b"")
    np.save(folder / "names.npy", np.array([Call(os.system, HARM)], dtype=object), allow_pickle=True)
    return run(["--mode", "tpe", *SMALL, "model.pretrained=names.npy", "--out", "run"])


def table_with_code(folder: Path) -> int:
    """A folder of `datasets` with a script to load it, as libraries once ran."""
    (folder / "set").mkdir()
    (folder / "set" / "set.py").write_text(f"import os\nos.system({HARM!r})\n")
    (folder / "set" / "dataset_infos.json").write_text("{}")
    return run(["--mode", "tpe", "data.format=hf", "data.root=set", "--out", "run"])


def shard_that_leaves_its_folder(folder: Path) -> int:
    """Members named beyond their folder, and links to files of the machine."""
    (folder / "set").mkdir()
    with tarfile.open(folder / "set" / "id_train-0.tar", "w") as archive:
        for name in ("../../harm", "/harm", "0001.cls"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"0"))
        link = tarfile.TarInfo("0001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return run(["--mode", "tpe", "data.format=webdataset", "data.root=set", "--out", "run"])


def picture_of_a_terabyte(folder: Path) -> int:
    for split in ("id_train", "id_val", "ood_val", "id_test", "ood_test/far"):
        for name in ("a", "b"):
            (folder / "pictures" / split / name).mkdir(parents=True)
            bomb(folder / "pictures" / split / name / "0.bmp")
    return data(["folder", "--root", "pictures"])


def state_of_a_training(folder: Path) -> int:
    """A run whose folder came from somebody else, with a pickle in the place of a training's state."""
    words = ("--mode", "random", *SMALL, "data.options.ood_val=100", "evaluation.methods=[zero_shot, ft]")
    assert run([*words, "--out", "run"]) == 0
    results = json.loads((folder / "run" / "results.json").read_text())
    for name in ("ft", "linear_probe"):
        (folder / "run" / "checkpoints" / f"{name}.safetensors").unlink(missing_ok=True)
    (folder / "run" / "checkpoints" / "ft.training").write_bytes(saved({"step": Call(os.system, HARM)}, old=False))
    assert results["methods"]
    (folder / "run" / "results.json").unlink()
    return run(["--resume", "run"])


def fitted_model(folder: Path) -> int:
    """A checkpoint in a run's folder with a note that is no number, and no tensors."""
    (folder / "run" / "model").mkdir(parents=True)
    head = json.dumps({"__metadata__": {CHECKSUM: "$(touch harm)"}}).encode()
    (folder / "run" / "model" / "open_clip_model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    (folder / "run" / "model" / "load.py").write_text(f"import os\nos.system({HARM!r})\n")
    return predict(["run", "x.png"])


def results_of_another(folder: Path) -> int:
    (folder / "run").mkdir()
    (folder / "run" / "results.json").write_bytes(pickle.dumps(Call(os.system, HARM)))
    return report(["run"])


HOSTILE: dict[str, Callable[[Path], int]] = {
    "a checkpoint that is a pickle": checkpoint(lambda: pickle.dumps({"state_dict": Call(os.system, HARM)})),
    "a checkpoint with a pickle": checkpoint(
        lambda: saved({"x": Call(exec, f"import os; os.system({HARM!r})")}, old=False)
    ),
    "an old checkpoint": checkpoint(lambda: saved({"x": Call(eval, f"__import__('os').system({HARM!r})")}, old=True)),
    "a TorchScript archive": checkpoint(torchscript),
    "a safetensors header without end": endless_header,
    "a model's configuration": model_from_elsewhere,
    "settings with a tag": settings,
    "an objective with a tag": objective,
    "aliases that multiply": aliases,
    "arrays that are pickles": pickled_arrays,
    "arrays of objects": arrays_of_objects,
    "a table with code": table_with_code,
    "a shard beyond its folder": shard_that_leaves_its_folder,
    "a picture of a terabyte": picture_of_a_terabyte,
    "a training's state": state_of_a_training,
    "a fitted model": fitted_model,
    "results": results_of_another,
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.full) if k == "a training's state" else k for k in HOSTILE]
)
def test_it_is_refused_and_nothing_runs(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets; else a configuration is served
    with watched() as seen:
        code = HOSTILE[kind](tmp_path)
    said = capsys.readouterr().err
    assert code in (2, 3), said
    assert said.startswith("error: ") or "\nerror: " in said
    assert not [act for act in seen if "git" not in act], "provenance asks git alone"
    assert not list(tmp_path.rglob("harm"))
    assert not Path("/harm").exists()


def test_what_is_watched_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with watched() as seen:
        pickle.loads(pickle.dumps(Call(os.system, HARM)))
    assert len(seen) == 1
    assert (tmp_path / "harm").exists()
    assert torch.load(io.BytesIO(saved({"x": torch.ones(1)}, old=False)), weights_only=True)["x"] == 1
