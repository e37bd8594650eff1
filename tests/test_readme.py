"""The README is true: its commands run, its tables are current, its links exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metaft.report.__main__ import main as report
from metaft.run import main as run

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines() if line]
INSTALLS = [line for line in COMMANDS if "pip install" in line]
METAFT = [line for line in COMMANDS if line.startswith("python -m metaft.")]
PLAIN = ("--print-config", "--list")  # these take no settings


def test_every_command_is_of_a_tested_kind():
    assert len(INSTALLS) == 2
    assert set(COMMANDS) == {*INSTALLS, *METAFT}


def test_ci_runs_exactly_the_test_command():
    assert INSTALLS[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_commands_in_order(small, tmp_path, monkeypatch, picture_tree, capsys):
    """All commands one after the other in one folder, as a reader would; sizes are cut by overrides."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    first = INSTALLS[0].split(" && ")[-1]
    for line in [first, *METAFT]:
        words = shlex.split(line)[2:]
        module, arguments = words[0], words[1:]
        if module == "metaft.report":
            assert report(arguments) == 0, line
            continue
        folder = any("folder.yaml" in word for word in arguments)
        cuts = [s for s in small if not (folder and s.startswith("data.options"))]
        if line != first and "methods.yaml" not in line:
            cuts.append("evaluation.methods=[zero_shot, autoft]")
        assert run([*arguments, *([] if set(PLAIN) & set(arguments) else cuts)]) == 0, line
    out = capsys.readouterr().out
    assert "| autoft " in out
    assert (tmp_path / "runs" / "report.html").exists()


def test_python_examples_run():
    for example in re.findall(r"```python\n(.*?)```", TEXT, re.S):
        exec(compile(example, "README.md", "exec"), {})


def test_tables_are_current():
    done = subprocess.run(
        [sys.executable, "benchmarks/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "current", done.stdout + done.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", TEXT))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_files_named_exist():
    for name in re.findall(r"`((?:metaft|tests|benchmarks|configs)/[\w/.]+)`", TEXT):
        assert (ROOT / name).exists(), name
