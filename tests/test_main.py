"""metaft COMMAND: the parsers, exit codes and errors of the modules; help and version load nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import metaft
from metaft.__main__ import COMMANDS, main
from tests.test_layout import loaded

ROOT = Path(metaft.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FAULTS = {
    "run": (["--validate", "inner.stepps=7"], 2, "Did you mean 'inner.steps'?"),
    "report": (["absent"], 3, "absent"),
    "data": (["cifar-10"], 2, "Did you mean 'cifar10'?"),
    "watch": (["absent", "--once"], 3, "no such folder"),
    "optuna": (["absent", "sqlite://"], 3, "no such journal"),
    "predict": (["absent", "absent.png", "--templates", "simple"], 2, "--templates"),
}


@pytest.mark.parametrize("words", [[], ["--help"]], ids=str)
def test_alone_it_helps(words, capsys):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    out = capsys.readouterr().out
    assert code == 0
    assert all(f"\n    {name} " in out for name in COMMANDS)


def test_the_version_is_written_once(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"metaft {metaft.__version__}\n")
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "metaft.__version__"}
    assert version("metaft") == metaft.__version__, "install it again"


def test_it_is_what_pip_installs():
    assert PROJECT["project"]["scripts"] == {"metaft": "metaft.__main__:command"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_its_module(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words, code, said = FAULTS[name]
    assert main([name, *words]) == code
    error = capsys.readouterr().err
    assert COMMANDS[name].main(words, "python -m x") == code
    assert capsys.readouterr().err == error
    assert said in error


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_names_the_command_that_was_called(name, capsys):
    for called, how in ((main, f"metaft {name}"), (COMMANDS[name].main, "python -m metaft")):
        with pytest.raises(SystemExit) as end:
            called([name, "--hlep"] if called is main else ["--hlep"])
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(f"usage: {how}")


@pytest.mark.parametrize(("word", "nearest"), [("rnu", "run"), ("Report", "report"), ("xyzxyz", None)])
def test_a_misspelt_command_is_told_with_the_nearest(word, nearest, capsys):
    with pytest.raises(SystemExit) as end:
        main([word, "--seed", "1"])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert f"metaft: error: COMMAND: unknown name '{word}'; allowed: data, optuna, predict, report, run, watch" in error
    assert error.endswith(f"Did you mean '{nearest}'?\n" if nearest else ".\n")


@pytest.mark.parametrize("words", [[], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=str)
def test_help_and_version_load_nothing_heavy(words):
    assert loaded(f"from metaft.__main__ import main\ntry: main({words})\nexcept SystemExit: pass") == set()


def test_a_process_of_its_own_ends_with_the_code():
    for words, code in ((["--version"], 0), (["run", "--validate", "a=1"], 2), (["rnu"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "metaft", *words], capture_output=True, check=False, env=os.environ, cwd=ROOT
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False)


def test_a_clone_that_is_not_installed_says_so():
    code = "import sys; sys.modules['lazy_loader'] = None; import metaft"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    said = (
        f"ModuleNotFoundError: metaft's packages are not in {sys.executable}; pip install -e . in the clone puts them"
    )
    assert said in done.stderr
