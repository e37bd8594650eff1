"""What docs/walk.md quotes is what metaft prints, in folders as a newcomer would have them."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from metaft.__main__ import main
from tests.watch.folders import ended, searching

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ (.*?)\n(.*?)\[(\d+)\]\n```", PAGE, re.S)
TRAIN = "inner.steps=2"  # a command that has this in it trains
WAITING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in tests that are run in the background it is ignored
from metaft.run import main
sys.exit(main(sys.argv[1:]))
"""
ALONE = "--device cuda"  # of a machine without one


@pytest.fixture
def here(tmp_path, picture_tree, monkeypatch):
    """A folder with pictures in our layout and in another, and with a run that has ended and one that has not."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(picture_tree / "id_train", tmp_path / "mine" / "train")
    shutil.copytree(picture_tree / "ood_val", tmp_path / "mine" / "test")
    shutil.copytree(picture_tree, tmp_path / "unlabelled")
    shutil.rmtree(tmp_path / "unlabelled" / "ood_val")
    (tmp_path / "runs").mkdir()
    searching(tmp_path / "runs" / "open")
    ended(tmp_path / "runs" / "done")
    return tmp_path


def test_the_page_is_read():
    assert len(BLOCKS) == PAGE.count("```console")
    assert len(BLOCKS) > 20


def answer(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as end:  # of the command line's parser
        return int(end.code or 0)


def pieces(quoted: str) -> list[str]:
    """What stands between the places where a quotation is shortened, blanks counting as one."""
    return [" ".join(piece.split()) for piece in quoted.split("...")]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("command", "quoted", "code"),
    [pytest.param(*b, marks=pytest.mark.full if TRAIN in b[0] else (), id=b[0][:60]) for b in BLOCKS],
)
def test_a_message_is_quoted(command, quoted, code, capsys):
    if ALONE in command and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    program, *words = shlex.split(command)
    assert program == "metaft"
    found = answer(words)
    told = capsys.readouterr()
    said = " ".join(f"{told.out} {told.err}".split())
    assert str(found) == code, said
    at = 0
    for piece in pieces(quoted):
        at = said.find(piece, at)
        assert at >= 0, f"{piece!r} is not in {said!r}"


@pytest.mark.full
def test_an_interruption_and_what_follows(here, small, capsys):
    """Ctrl-C in the search: the command that it names goes on; until then the page is of an unfinished run."""
    few = ["search.trials=40", "evaluation.methods=[zero_shot, autoft]"]
    words = ["--mode", "tpe", "--out", "runs/mine", *small, *few]
    journal = here / "runs" / "mine" / "search" / "trials.jsonl"
    command = [sys.executable, "-c", WAITING, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        while not (journal.exists() and '"trial"' in journal.read_text()):
            assert run.poll() is None
            time.sleep(0.1)
        assert answer(["run", "--resume", "runs/mine"]) == 2
        assert "runs/mine: another process is at work on it; allowed: one at a time" in capsys.readouterr().err
        run.send_signal(signal.SIGINT)
        assert "interrupted; go on with: python -m metaft.run --resume runs/mine" in run.stderr.read()
    assert run.returncode == 130
    assert answer(["report", "runs/mine"]) == 0
    assert "runs/mine has not ended." in (here / "report.html").read_text()
    assert answer(["run", "--resume", "runs/mine"]) == 0
    assert "autoft" in (first := capsys.readouterr().out)
    assert answer(["run", "--resume", "runs/mine"]) == 0
    assert capsys.readouterr().out in first, "what has ended is told again"
