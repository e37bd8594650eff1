"""Whole runs on ranks: what they must be asked for alike, what they come to, and what happens as one is killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from metaft import config, ranks
from metaft.build.carried import Carried, digest
from metaft.build.fits import scored
from metaft.build.workspace import workspace
from metaft.config import dump
from metaft.data.types import Domains
from metaft.errors import ConfigError, DataError, MetaftError
from metaft.objective import Objective
from tests.conftest import SMALL
from tests.test_ranks import TORCHRUN, by_one_process, close, environment, on_ranks

OTHER = {  # words for ranks, in which bash fills in their number, and what all are told
    "a setting that a run may change": (
        ["--mode", "tpe", "finetune.accumulate=$((RANK + 1))"],
        "rank 1: settings: finetune.accumulate is 2; allowed: 1, as on rank 0.",
    ),
    "another objective": (["--objective", "$RANK.yaml"], "rank 1: objective: digest is "),
    "a dry run": (["--mode", "tpe", "$([ $RANK = 1 ] && echo --dry-run)"], "rank 1: command line: --dry-run is True"),
    "a folder of its own": (["--resume", "$RANK"], "--resume: 0, which is not the same folder on rank 1; allowed: a f"),
    "a run of its own": (["--reproduce", "$RANK"], "--reproduce: 0, which is not the same folder on rank 1; allowed: "),
}


@pytest.mark.full
@pytest.mark.parametrize(("words", "said"), OTHER.values(), ids=OTHER)
def test_ranks_that_are_asked_for_other_things_are_told_once(tmp_path, words, said):
    for number in range(2):
        Objective({"ce": 1.0}, 1e-3, 0.1 * number).save(tmp_path / f"{number}.yaml")
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.yaml").write_text(dump(config.load(None, [*SMALL, "search.mode=tpe"])))
    if not {"--resume", "--reproduce"} & {*words}:
        words = [*map(repr, SMALL), *words, "--out", "run"]
    script = f"exec {sys.executable} -m metaft.run {' '.join(words)}"
    command = [*TORCHRUN, "--no-python", "bash", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if said in line]
    assert len(told) == 1, done.stderr
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.rglob(".shared-*")), "no mark is left"


def test_a_folder_that_a_rank_does_not_see(monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "count", lambda: 3)
    monkeypatch.setattr(ranks, "told", lambda value: value)
    monkeypatch.setattr(ranks, "meet", lambda: None)
    for seen in ([True, True, True], [True, True, False]):
        monkeypatch.setattr(ranks, "gathered", lambda mine, seen=seen: seen if mine else pytest.fail("not marked"))
        if all(seen):
            ranks.refuse_unshared("out", tmp_path)
        else:
            with pytest.raises(ConfigError, match=f"out: {tmp_path}, which is not the same folder on rank 2; allowed:"):
                ranks.refuse_unshared("out", tmp_path)
        assert not list(tmp_path.iterdir())


def test_objectives_are_told_apart_by_what_they_say():
    plain, other = (Objective({"ce": 1.0}, lr, 0.1) for lr in (1e-3, 2e-3))
    carried = [Carried(plain, config.load(None, [f"finetune.lr={lr}"])) for lr in (1e-3, 1e-2)]
    digests = [digest(source) for source in (None, plain, other, *carried)]
    assert len({*digests}) == 5
    assert digest(replace(plain)) == digest(plain)


def ends() -> list[Any]:
    """What ranks find that end by the same words as the first, by others, and beside one that goes on."""
    same = ranks._told_by_the_first("a; allowed: b")
    ranks.meet()
    other = ranks._told_by_the_first("a" if ranks.leads() else "c")
    return [same, other]


def lags() -> list[Any]:
    def body() -> int:
        if ranks.leads():
            raise DataError("torn")
        return 3

    with pytest.raises(MetaftError, match="torn") as caught:
        ranks.leader_first(body)
    assert ranks.leader_first(lambda: 7 + ranks.number()) == 7 + ranks.number()
    return [caught.value.shared]


@pytest.mark.full
def test_what_all_end_with_is_told_by_the_first(tmp_path):
    first, second = on_ranks(2, ends, tmp_path)
    assert (first, second) == ([True, True], [True, False])
    assert on_ranks(2, lags, tmp_path) == [[True], [True]]


def judged() -> dict[str, Any]:
    """The scores of theta_0 by groups and by domains; of the forty images of id_test, the last batch has one."""
    work = workspace(config.load(None, [*SMALL, "evaluation.batch_size=13"]))
    (first, one), (second, other) = work.splits.tests.items()
    assert len(one) == 40
    parts = [Domains(tuple("abcde"), torch.arange(len(split)) % 5) for split in (one, other)]
    tests = {first: replace(one, groups=parts[0]), second: replace(other, domains=parts[1])}
    found = scored(replace(work, splits=replace(work.splits, tests=tests)), work.classifier)
    return {name: score.to_dict() for name, score in found.items()}


def alike(ours: Any, theirs: Any) -> None:
    """Numbers but for rounding, all else in full."""
    if isinstance(theirs, dict):
        assert [*ours] == [*theirs]
        for name in theirs:
            alike(ours[name], theirs[name])
    elif isinstance(theirs, list):
        for one, other in zip(ours, theirs, strict=True):
            alike(one, other)
    else:
        assert ours == (pytest.approx(theirs, rel=1e-5, abs=1e-7) if isinstance(theirs, float) else theirs)


@pytest.mark.full
@pytest.mark.parametrize("count", [2, 4])
def test_metrics_of_groups_are_those_of_one_process(tmp_path, count):
    expected = judged()
    assert all("worst_group" in score for score in expected.values())
    first, *others = on_ranks(count, judged, tmp_path)
    assert all(found == first for found in others)
    alike(first, expected)


RUN = (
    *(*SMALL, "finetune.epochs=2", "evaluation.batch_size=16", "evaluation.methods=[zero_shot, ft]"),
    *("finetune.lr=1e-4", "--objective", "objective.yaml"),
)


@pytest.mark.full
@pytest.mark.parametrize(("place", "dies"), [("checkpoint", 0), ("evaluation", 0), ("evaluation", 1)])
def test_when_a_rank_is_killed_the_other_stops_and_the_run_goes_on(tmp_path, place, dies):
    """Within a minute and by itself, as nobody else looks after these; in the middle of a file, or of a test split."""
    Objective({"ce": 1.0}, 1e-3, 0.1).save(tmp_path / "objective.yaml")
    by_one_process(tmp_path, *RUN, "--out", "alone")
    both = [by_hand(tmp_path, number, port, place, dies) for port in [free_port()] for number in range(2)]
    wait_until(lambda: (tmp_path / "died").exists())
    begun = time.monotonic()
    said = both[1 - dies].communicate(timeout=60)[1]
    assert time.monotonic() - begun < 60
    both[dies].communicate()
    assert both[1 - dies].returncode == 3, said
    assert "error: another rank has ended, or keeps the others waiting; allowed: all to the end, and then " in said
    assert "--resume run" in said
    assert not (tmp_path / "run" / "report.html").exists()
    by_one_process(tmp_path, "--resume", "run")
    ours, theirs = (load_file(tmp_path / run / "checkpoints" / "ft.safetensors") for run in ("run", "alone"))
    close(ours, theirs)
    one, other = (json.loads((tmp_path / run / "results.json").read_text())["methods"] for run in ("alone", "run"))
    assert [*one] == [*other]
    for split in ("id_test", "ood_test/handwritten"):
        assert one["ft"][split]["accuracy"] == other["ft"][split]["accuracy"]


def by_hand(folder: Path, number: int, port: int, place: str, dies: int) -> subprocess.Popen[str]:
    """A rank of two that nobody looks after."""
    there = {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "tests.dying", place, str(dies), *RUN, "--out", "run"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env={**environment(), **there}, text=True, **pipes)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def wait_until(holds: Any, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
