"""The pages in docs/: the tests that they name are there."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from metaft import config

ROOT = Path(__file__).parent.parent
PAGES = [page.read_text() for page in (ROOT / "docs").glob("*.md")]
SCRIPTS = [script for page in PAGES for script in re.findall(r"```sh\n(#!.*?)```", page, re.S)]
NAMED = sorted({name for page in PAGES for name in re.findall(r"`(tests/[^`]+)`", page)})


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_pages_name_tests():
    assert len(NAMED) > 20


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_is_there(name):
    path, _, test = name.partition("::")
    assert (ROOT / path).exists()
    assert not test or test in functions_of(ROOT / path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_bash_whose_settings_are_known(script, tmp_path):
    (tmp_path / "script.sh").write_text(script)
    subprocess.run(["bash", "-n", tmp_path / "script.sh"], check=True)
    settings = re.findall(r"(\w+\.\w+)=(\w+)", script.partition("metaft.run")[2])
    config.load(None, [f"{key}={value}" for key, value in settings])


def test_there_are_scripts():
    assert len(SCRIPTS) == 3
