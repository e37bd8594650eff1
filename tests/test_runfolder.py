"""A run's folder: one run and one process each, and what it keeps comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metaft import config
from metaft.cost import Cost
from metaft.errors import CheckpointError, ConfigError
from metaft.finetune.fits import Fit
from metaft.runfolder import Checkpoints, RunFolder
from tests.results import RESULTS


@pytest.fixture
def checkpoints(work, tmp_path):
    return Checkpoints(tmp_path / "checkpoints", work.fresh)


def test_a_folder_holds_one_run(tmp_path):
    cfg = config.load(None, [f"out={tmp_path / 'run'}", "seed=7"])
    folder = RunFolder.create(cfg)
    assert config.load(folder.path / "config.yaml") == cfg
    with pytest.raises(ConfigError, match=r"out: .*run holds a run; allowed: a new folder, or --resume .*run"):
        RunFolder.create(cfg)


def test_a_folder_without_a_name_says_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create(config.load(None, ["search.mode=tpe", "seed=3"])).path.match("runs/*-tpe-digits-seed3")
    assert RunFolder.create(config.load(None, ["data.format=shapes"])).path.match("runs/*-objective-shapes-seed0")


def test_results_and_events(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.results() is None
    RESULTS.write(tmp_path)
    assert folder.results() == RESULTS
    folder.log({"step": 1})
    folder.log({"loss": float("inf")})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1}, {"loss": None}]


def test_a_fit_comes_back(work, checkpoints):
    assert checkpoints.take("ft") is None
    model = work.fresh()
    with torch.no_grad():
        model.head.bias.add_(0.5)
    fit = Fit(model, {"zero_shot": Cost(2.5), "ft": Cost(10.0, 0.1)}, {"alpha": 0.3, "method": "ft"})
    checkpoints.put("ft", fit)
    kept = checkpoints.take("ft")
    assert (kept.costs, kept.chosen, kept.cost) == (fit.costs, fit.chosen, Cost(12.5, 0.1))
    for name, tensor in kept.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_states_of_trainings_go_with_their_fit(work, checkpoints, tmp_path):
    state = {"step": 3, "variables": {"a": torch.arange(3.0)}}
    for name in ("soup", "soup.1", "ft", "soup_2", "ft.fold0", "ft.fold0.tried"):
        checkpoints.save(name, state)
    kept = checkpoints.load("soup.1")
    assert kept["step"] == 3
    assert torch.equal(kept["variables"]["a"], torch.arange(3.0))
    checkpoints.put("soup", Fit(work.classifier))
    checkpoints.put("ft.fold0", Fit(work.classifier))
    left = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert left == {"soup.safetensors", "ft.fold0.safetensors", "ft.training", "soup_2.training"}
    assert checkpoints.load("soup") is None


def test_files_that_cannot_be_read_are_named(checkpoints, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "ft.training").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"ft\.training: .*; allowed: a training's state, or no such file"):
        checkpoints.load("ft")
    (tmp_path / "checkpoints" / "kd.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"kd\.safetensors"):
        checkpoints.take("kd")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("scalars", [10, 3_000_000])
def test_a_state_that_finds_no_room_says_so(checkpoints, tmp_path, scalars):
    checkpoints.save("ft", {"step": 1})
    (tmp_path / "checkpoints" / "ft.training.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save("ft", {"step": 2, "variables": torch.zeros(scalars)})
    assert checkpoints.load("ft") == {"step": 1}, "the last state stays"
