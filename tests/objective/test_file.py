"""objective.yaml: there and back, and every fault of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import metaft
from metaft.errors import ConfigError
from metaft.objective import Objective, load_objective

SHIPPED = Path(__file__).parents[2] / "configs" / "objectives"


def test_file_there_and_back(tmp_path):
    path = tmp_path / "objective.yaml"
    objective = Objective({"ce": 1.0, "kd": 0.1}, 1e-5, 0.1, {"head": {"lr": 1e-3, "terms": {"l2init": 0.5}}})
    objective.save(path)
    assert load_objective(path) == objective
    assert Objective.from_values(objective.values()) == objective
    document = yaml.safe_load(path.read_text())
    assert list(document) == ["version", "terms", "lr", "wd", "groups", "schedule"]
    assert document["version"] == 1


def test_sources_go_there_and_back(tmp_path):
    path = tmp_path / "objective.yaml"
    later = Objective({"ce": 1.0}, 1e-5, 0.1, sources={"ood_val": 0.0, "sketches": 2.0})
    objective = Objective({"ce": 1.0}, 1e-5, 0.1, schedule=((0.5, later),), sources={"ood_val": 0.3})
    objective.save(path)
    assert load_objective(path) == objective
    assert Objective.from_values(later.values()) == later
    assert objective.trained_sources == ("ood_val", "sketches")
    assert later.trained_sources == ("sketches",)
    path.write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-5\nwd: 0.1\nsources: {ood_val: -1}\n")
    with pytest.raises(ConfigError, match=r"sources\.ood_val: -1; allowed: a number, 0 to 1e\+30"):
        load_objective(path)


def test_the_share_of_the_way_goes_there_and_back(tmp_path):
    path = tmp_path / "objective.yaml"
    objective = Objective({"ce": 1.0}, 1e-5, 0.1, alpha=0.3)
    objective.save(path)
    assert load_objective(path) == objective
    assert Objective.from_values(objective.values()) == objective
    path.write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-5\nwd: 0.1\nalpha: 1.5\n")
    with pytest.raises(ConfigError, match=r"alpha: 1\.5; allowed: a number from 0 to 1"):
        load_objective(path)


def test_a_method_goes_there_and_back(tmp_path):
    path = tmp_path / "objective.yaml"
    objective = Objective({"ce": 1.0}, 1e-5, 0.1, {"head": {"lr": 1e-3}}, "ftp", {"kappa": 0.5, "norm": "mars"})
    objective.save(path)
    assert load_objective(path) == objective
    assert Objective.from_values(objective.values(), "ftp") == objective
    path.write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-5\nwd: 0.1\nmethod: {kappa: 1}\n")
    with pytest.raises(ConfigError, match="method: None for a name; allowed: null, or a mapping with a name"):
        load_objective(path)


def test_a_head_goes_there_and_back(tmp_path):
    path = tmp_path / "objective.yaml"
    objective = Objective({"ce": 1.0}, 1e-5, 0.1, head="linear_probe")
    objective.save(path)
    assert load_objective(path) == objective
    path.write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-5\nwd: 0.1\nhead: linear_prob\n")
    path.with_name("odd.yaml").write_text("version: 1\nterms: {ce: 1.0}\nlr: 1e-5\nwd: 0.1\nhead: [a]\n")
    with pytest.raises(ConfigError, match=r"head: unknown name \"\['a'\]\""):
        load_objective(path.with_name("odd.yaml"))
    with pytest.raises(ConfigError, match=r"head: unknown name 'linear_prob'; .*'linear_probe'"):
        load_objective(path)


NONSENSE = {
    "lr": ({"lr": -1.0}, "objective.lr: -1.0; allowed: a number, 0, or 1e-15 to"),
    "wd": ({"wd": float("nan")}, "objective.wd: nan; allowed: a number"),
    "text": ({"lr": "1e-5"}, "objective.lr: '1e-5'; allowed: a number"),
    "weight": ({"terms": {"ce": float("inf")}}, "objective: terms.ce: inf; allowed: a number"),
    "term": ({"terms": {"kdd": 1.0}}, "objective: terms: unknown name 'kdd'"),
    "no terms": ({"terms": 3}, "objective: terms: 3; allowed: a mapping"),
    "alpha": ({"alpha": float("nan")}, "objective: alpha: nan; allowed: a number from 0 to 1"),
    "head": ({"head": "hed"}, "objective: head: unknown name 'hed'"),
    "source": ({"sources": {"ood_val": -1}}, "objective: sources.ood_val: -1; allowed: a number"),
    "group": ({"groups": {"head": {"lr": -1}}}, "objective: groups.head.lr: -1; allowed: a number"),
    "schedule": ({"schedule": (0.5,)}, "objective: a value that is none of an objective's"),
    "stage": ({"schedule": ((0.5, Objective({"ce": 1.0}, -1.0, 0.1)),)}, "objective: schedule.0.lr: -1.0"),
    "no sources": ({"sources": None}, "objective: sources: None; allowed: a mapping"),
    "head of a stage": (
        {"schedule": ((0.5, Objective({"ce": 1.0}, 1e-5, 0.1, head="linear_probe")),)},
        "objective: schedule.0.head: 'linear_probe'; allowed: that of the whole objective",
    ),
    "method of a stage": (
        {"schedule": ((0.5, Objective({"ce": 1.0}, 1e-5, 0.1, method="ftp")),)},
        "objective: schedule.0.method: 'ftp'; allowed: that of the whole objective",
    ),
    "object": ({"lr": object()}, "objective: a value that is none of an objective's (a object)"),
}


@pytest.mark.parametrize(("given", "said"), NONSENSE.values(), ids=NONSENSE)
def test_an_objective_that_cannot_be_is_not_written(tmp_path, given, said):
    """Nor trained with."""
    objective = Objective(**{"terms": {"ce": 1.0}, "lr": 1e-5, "wd": 0.1, **given})
    for attempt in (
        lambda: objective.save(tmp_path / "o.yaml"),
        lambda: metaft.finetune(objective=objective),
        lambda: metaft.compare(objective=objective),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            attempt()
    assert not (tmp_path / "o.yaml").exists()


def test_where_no_file_can_be_is_told(tmp_path):
    objective = Objective({"ce": 1.0}, 1e-5, 0.1)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"path: .*, a folder; allowed: a file"):
        objective.save(tmp_path)
    with pytest.raises(ConfigError, match=r"folder: .*file is a file; allowed: a folder that can be made"):
        objective.save(tmp_path / "file" / "objective.yaml")


def test_numbers_of_numpy_are_written(tmp_path):
    Objective({"ce": np.float64(1), "kd": np.float32(0.5)}, np.float64(1e-5), np.int64(0)).save(tmp_path / "o.yaml")
    assert load_objective(tmp_path / "o.yaml") == Objective({"ce": 1.0, "kd": 0.5}, 1e-5, 0.0)
    assert yaml.safe_load((tmp_path / "o.yaml").read_text())["terms"] == {"ce": 1.0, "kd": 0.5}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_objectives_are_read(path):
    objective = load_objective(path)
    assert objective.terms["ce"] == 1.0
    assert 0 < objective.lr < 1e-3


def test_file_faults_are_reported_together(tmp_path):
    path = tmp_path / "objective.yaml"
    path.write_text(
        "version: 2\nterms: {ce: 1.0, hindge: 1.0, kd: -1}\nlr: .inf\nwdd: 3\nschedule: [1]\n"
        "groups: {head: {lr: x, terms: {ce: 1.0}, k: 2}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_objective(path)
    text = str(caught.value)
    for words in ("version", "'hinge'", "kd", "lr", "'wd'", "schedule", "groups.head.lr", "'ce'", "'k'"):
        assert words in text, words
    with pytest.raises(ConfigError, match="cannot read"):
        load_objective(tmp_path / "absent.yaml")


def test_a_schedule_is_kept_and_says_what_holds_when(tmp_path):
    later = Objective({"ce": 1.0, "kd": 0.5}, 1e-4, 0.0, {"head": {"lr": 1e-2}})
    last = Objective({"ce": 1.0, "flyp": 0.1}, 1e-5, 0.0)
    first = Objective({"ce": 1.0}, 1e-3, 0.1, schedule=((0.25, later), (0.5, last)))
    first.save(tmp_path / "o.yaml")
    again = load_objective(tmp_path / "o.yaml")
    assert again == first
    assert [again.at(share) for share in (0.0, 0.24, 0.25, 0.49, 0.5, 0.99)] == [again, again, later, later, last, last]
    assert again.needs_text, "the last stage does"


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("{start: 0.5}", "a list of mappings with start, terms, sources, lr, wd, groups"),
        ("[{start: 0.5, lr: 1e-3, wd: 0.1}, {start: 0.2, lr: 1e-3, wd: 0.1}]", r"starts \[0.5, 0.2\]; allowed: shares"),
        ("[{start: 1, lr: 1e-3, wd: 0.1}]", r"starts \[1\]"),
        ("[{start: 0.5, lr: 1e-3, wd: 0.1, terms: {kdd: 1}}]", r"schedule.0: terms: unknown name 'kdd'"),
        ("[{start: 0.5, lr: x, wd: 0.1, begin: 3}]", r"schedule.0.lr: 'x'"),
    ],
)
def test_faults_of_a_schedule(tmp_path, schedule, words):
    path = tmp_path / "o.yaml"
    path.write_text(f"version: 1\nterms: {{ce: 1.0}}\nlr: 1e-3\nwd: 0.1\nschedule: {schedule}\n")
    with pytest.raises(ConfigError, match=words):
        load_objective(path)


def test_a_file_is_regular_and_of_a_bounded_size(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.yaml").write_text("#" * 2**21)
    for name, words in (("pipe", "no regular file"), ("large.yaml", "more than 1,048,576 bytes")):
        with pytest.raises(ConfigError, match=words):
            load_objective(tmp_path / name)
    (tmp_path / "o.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\r\nterms: {ce: 1.0}\r\nlr: 1e-5\r\nwd: 0.1\r\n")
    assert load_objective(tmp_path / "o.yaml") == Objective({"ce": 1.0}, 1e-5, 0.1)


@pytest.mark.parametrize("value", ["1e308", ".nan", ".inf", "-1", "true", "2024-01-01", "'1'", "9" * 80, "[1]"])
@pytest.mark.parametrize("key", ["lr", "wd", "terms.ce", "sources.ood_val", "groups.head.lr", "schedule.0.lr"])
def test_numbers_that_no_objective_has(tmp_path, key, value):
    path = tmp_path / "o.yaml"
    made = {"lr": "1", "wd": "0", "terms.ce": "1", "sources.ood_val": "1", "groups.head.lr": "1", "schedule.0.lr": "1"}
    lr, wd, term, source, group, later = {**made, key: value}.values()
    path.write_text(
        f"version: 1\nterms: {{ce: {term}}}\nlr: {lr}\nwd: {wd}\nsources: {{ood_val: {source}}}\n"
        f"groups: {{head: {{lr: {group}}}}}\nschedule: [{{start: 0.5, lr: {later}, wd: 0}}]\n"
    )
    with pytest.raises(ConfigError, match=f"{key.split('.')[-1]}: .*; allowed: a number, 0") as caught:
        load_objective(path)
    assert len(caught.value.faults) == 1
