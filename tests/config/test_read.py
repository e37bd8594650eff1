"""Reading settings: numbers are numbers, and every fault is reported at once with the nearest valid name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from metaft import config
from metaft.errors import ConfigError


def faults(*overrides: str, path: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return {fault.field: str(fault) for fault in caught.value.faults}


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "0.00001", "1.0e-05", ".00001"])
def test_numbers_are_numbers(text):
    assert config.load(None, [f"finetune.lr={text}"]).finetune.lr == 1e-5


def test_yaml_and_overrides_in_order(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("inner: {steps: 3, eps: 1e-4}\nseed: 5\n")
    cfg = config.load(path, ["inner.steps=7"])
    assert (cfg.inner.steps, cfg.inner.eps, cfg.seed) == (7, 1e-4, 5)


def test_dump_is_read_back(tmp_path):
    cfg = config.load(None, ["finetune.lr=1e-7", "objective.bounds={lr: [1e-9, 1e-3]}", "data.root=/x"])
    path = tmp_path / "c.yaml"
    path.write_text(config.dump(cfg))
    assert config.load(path) == cfg


def test_every_fault_at_once(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "seed: 1\nseed: 2\ninner: {stepps: 3, batch_size: true}\nfinetun: {lr: 3}\nfinetune: {lr: fast, epochs: 0}\n"
    )
    said = faults("search.mode=hypergrat", "lr=3", "x", path=path)
    assert "'inner.steps'" in said["inner.stepps"]
    assert "'finetune'" in said["finetun"]
    assert "'hypergrad'" in said["search.mode"]
    assert "key 'seed' again in line 2" in said[str(path)]
    assert {"inner.batch_size", "finetune.lr", "finetune.epochs", "lr", "x"} <= said.keys()
    assert len(said) == 9


def test_no_is_a_word_and_a_quoted_number_is_text():
    assert config.load(None, ["data.format=no"]).data.format == "no"
    assert "inner.steps" in faults("inner.steps='7'")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_broken_files(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        config.load(path)
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path / "absent.yaml")


def test_all_faults_survive_the_way_between_processes():
    with pytest.raises(ConfigError) as caught:
        config.load(None, ["inner.stepps=3", "seed=x"])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.faults, again.partial, str(again)) == (
        caught.value.faults,
        caught.value.partial,
        str(caught.value),
    )
