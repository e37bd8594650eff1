"""Each tracker beside its own reader: what was logged is what it shows, without a network."""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaft
from metaft import build, config
from metaft.errors import ConfigError
from metaft.trackers import registry
from metaft.trackers.registry import TRACKERS
from tests.test_layout import loaded

ROOT = Path(metaft.__file__).parent.parent
SETTINGS = {"seed": 3, "inner": {"steps": 7}, "report_to": ["wandb"]}
LOGGED = [("search", 0, {"value": 2.0}), ("search", 1, {"value": 1.5, "best": 1.5}), ("ft", 31, {"loss": 0.25})]
LOG = """
import json, sys, warnings
from pathlib import Path
from metaft.trackers.registry import TRACKERS
warnings.simplefilter("ignore")  # of packages that are not ours
name, run, settings, logged = json.loads(sys.argv[1])
tracker = TRACKERS[name].make(Path(run), settings)
for part, step, values in logged:
    tracker.log(part, step, values)
tracker.close()
"""


def logged(name: str, run: Path, monkeypatch) -> None:
    """Log in a process of its own, since trackers leave threads behind."""
    run.mkdir(exist_ok=True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(run / "trackio"))
    words = json.dumps([name, str(run), SETTINGS, LOGGED])
    done = subprocess.run([sys.executable, "-c", LOG, words], check=True, capture_output=True, cwd=ROOT, timeout=240)
    assert done.stdout.count(b"Run finished") <= 1  # not once more as the process ends


def records(content: bytes) -> Iterator[bytes]:
    """The records of a wandb file: after 7 bytes, a log of LevelDB's in blocks of 32 KiB.

    Each piece of a record has a checksum (4 bytes), its length (2) and its kind (1 whole; 2 first, 3 middle, 4 last).
    """
    at, record = 7, b""
    while at + 7 <= len(content):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from a run's folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(run / "tensorboard")).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.full
def test_tensorboard(tmp_path, monkeypatch):
    logged("tensorboard", tmp_path / "run", monkeypatch)
    expected = {"search/value": [(0, 2.0), (1, 1.5)], "search/best": [(1, 1.5)], "ft/loss": [(31, 0.25)]}
    assert scalars(tmp_path / "run") == expected


@pytest.mark.full
def test_tensorboard_shows_what_is_told_again_once(tmp_path, monkeypatch):
    for _ in range(2):
        logged("tensorboard", tmp_path / "run", monkeypatch)
    assert scalars(tmp_path / "run")["search/value"] == [(0, 2.0), (1, 1.5)]


@pytest.mark.full
def test_wandb(tmp_path, monkeypatch):
    from wandb.proto.wandb_internal_pb2 import Record

    logged("wandb", tmp_path / "run", monkeypatch)
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    rows, configs, metrics = [], {}, []
    for record in map(Record.FromString, records(file.read_bytes())):
        if record.HasField("history"):
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
        if record.HasField("run"):
            assert (record.run.project, record.run.display_name) == ("metaft", "run")
            configs |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("metric"):
            metrics.append((record.metric.glob_name or record.metric.name, record.metric.step_metric))
    assert rows == [
        {"search/step": 0, "search/value": 2.0},
        {"search/step": 1, "search/value": 1.5, "search/best": 1.5},
        {"ft/step": 31, "ft/loss": 0.25},
    ]
    assert {key: configs[key] for key in SETTINGS} == SETTINGS
    assert {("search/*", "search/step"), ("ft/*", "ft/step")} <= set(metrics)


def test_trackio(tmp_path, monkeypatch):
    logged("trackio", tmp_path / "run", monkeypatch)
    (file,) = (tmp_path / "run" / "trackio").glob("metaft*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, step, metrics from metrics order by id").fetchall()
        ((settings,),) = base.execute("select config from configs").fetchall()
    assert [(step, json.loads(values)) for _, step, values in rows] == [
        (step, {f"{part}/{name}": value for name, value in values.items()}) for part, step, values in LOGGED
    ]
    assert {row[0] for row in rows} == {"run"}
    assert json.loads(settings)["inner"] == {"steps": 7}


@pytest.mark.parametrize("name", TRACKERS)
def test_one_that_is_not_installed_is_told_with_its_extra(name, monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda package: None)
    with pytest.raises(ConfigError) as caught:
        build.check(config.load(None, [f"report_to={name}"]))
    (fault,) = caught.value.faults
    assert str(fault) == f"report_to: '{name}', which is not installed; allowed: pip install \"metaft[{name}]\"."


def test_a_folder_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "wandb_of_a_run").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not registry.TrackerKind("", lambda run, settings: None, "wandb_of_a_run").installed


def test_names_are_checked_and_one_may_stand_alone():
    assert config.load(None, ["report_to=tensorboard"]).report_to == ("tensorboard",)
    assert config.load(None, ["report_to=[wandb, trackio]"]).report_to == ("wandb", "trackio")
    assert config.load(None).report_to == ()
    with pytest.raises(ConfigError) as caught:
        build.check(config.load(None, ["report_to=[wandbb, tensorboard]"]))
    assert [(f.field, f.nearest) for f in caught.value.faults] == [("report_to", "wandb")]


def test_naming_them_imports_none():
    heavy = "[m for m in ('tensorboard', 'wandb', 'trackio') if m in sys.modules]"
    code = "import sys\nfrom metaft.run import main\nmain(['--validate', 'report_to=[tensorboard, wandb, trackio]'])"
    assert loaded(f"{code}\nassert not {heavy}") == set()
