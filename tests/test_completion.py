"""Words completed by a real bash on a terminal of its own; the script for zsh is read."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from metaft.__main__ import main

STUB = '#!/bin/sh\nprintf "%s\\n" "$*" >> "$FOUND"\n'


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script for bash, in a folder with a `metaft` that writes down what it is called with."""
    folder = tmp_path_factory.mktemp("completion")
    command = [sys.executable, "-m", "metaft", "--print-completion", "bash"]
    (folder / "script.sh").write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (folder / "metaft").write_text(STUB)
    (folder / "metaft").chmod(0o755)
    (folder / "runs" / "first").mkdir(parents=True)
    (folder / "settings.yaml").touch()
    return folder / "script.sh"


def completed(script, typed: str) -> str:
    """What the command is called with when a person types this, tabulators included, and then Enter."""
    found = script.with_name("found")
    found.write_text("")
    env = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "FOUND": str(found), "TERM": "dumb"}
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=env,
        cwd=script.parent,
        start_new_session=True,
    )
    os.write(ours, f"source script.sh\n{typed}\nexit\n".encode())
    try:
        shell.wait(timeout=60)
    finally:
        shell.kill()
        os.close(theirs)
        os.close(ours)
    return found.read_text().strip()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("metaft pred\t", "predict"),
        ("metaft run --dry\t", "run --dry-run"),
        ("metaft run --mode hyper\t --config sett\t", "run --mode hypergrad --config settings.yaml"),
        ("metaft run --list esti\t", "run --list estimators"),
        ("metaft run finetune.accum\t4", "run finetune.accumulate=4"),
        ("metaft run --resume ru\tfi\t", "run --resume runs/first/"),
        ("metaft data camel\t --root ru\t", "data camelyon17 --root runs/"),
    ],
)
def test_bash_completes(script, typed, words):
    assert completed(script, typed).replace("  ", " ") == words


def test_zsh_is_given_commands_and_names(capsys):
    assert main(["--print-completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef metaft\n")
    for part in ("predict:", "(hypergrad tpe random optuna-tpe ", "_files -/", "finetune.accumulate="):
        assert part in text


def test_without_shtab_it_is_told_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert 'no package shtab; allowed: pip install "metaft[completion]"' in capsys.readouterr().err
