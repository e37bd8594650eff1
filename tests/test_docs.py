"""The pages in docs/ are true: what they name is there, their commands and snippets run, the site builds."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from metaft import config
from metaft.api import EXAMPLE, compare, search
from metaft.data.__main__ import main as look
from metaft.finetune.methods import METHODS
from metaft.objective.registry import TERMS
from metaft.predict import main as predict
from metaft.run import main as run
from tests.pages import anchors

ROOT = Path(__file__).parent.parent
PAGES = {page.name: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
SCRIPTS = [script for page in PAGES.values() for script in re.findall(r"```sh\n(#!.*?)```", page, re.S)]
NAMED = sorted({name for page in PAGES.values() for name in re.findall(r"`(tests/[^`]+)`", page)})
BLOCKS = {name: re.findall(r"```sh\n([^#].*?)```", page, re.S) for name, page in PAGES.items()}
COMMANDS = {name: [line for block in blocks for line in block.splitlines()] for name, blocks in BLOCKS.items()}
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGES["extending.md"], re.S)
MODULES = {"metaft.run": run, "metaft.data": look, "metaft.predict": predict}


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


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[name]):
        path, _, anchor = link.partition("#")
        target = ROOT / "docs" / (path or name)
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_each_page_is_found_from_the_first_and_in_the_site():
    settings = (ROOT / "docs" / "site" / "mkdocs.yml").read_text()
    for name in PAGES:
        assert name == "index.md" or f"({name})" in PAGES["index.md"], name
        assert f"docs/{name}" in settings, name


def test_the_catalogue_is_that_of_the_registries():
    made = runpy.run_path(str(ROOT / "docs" / "site" / "catalogue.py"))["page"]()
    assert made == PAGES["catalogue.md"], "python docs/site/catalogue.py writes it"


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in COMMANDS.items() for line in lines])
def test_commands_have_known_settings(name, line):
    words = shlex.split(line)
    if words[:3] == ["python", "-m", "metaft.run"]:
        files = [ROOT / words[i + 1] for i, word in enumerate(words) if word == "--config"]
        config.load(files[0] if files else None, [word for word in words if "=" in word])


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_tutorial(small, picture_tree, tmp_path, monkeypatch):
    """From the folder to predictions, in an empty folder beside the pictures; sizes are cut by overrides."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    cuts = [s for s in small if not s.startswith("data.options")]
    for line in COMMANDS["tutorial.md"]:
        _, _, module, *arguments = shlex.split(line)
        assert MODULES[module]([*arguments, *(cuts if module == "metaft.run" else [])]) == 0, line
    assert (tmp_path / "runs/mine/report.html").exists()


@pytest.mark.full
@pytest.mark.parametrize("name", ["formats.md", "choosing.md"])
def test_commands_of_guides(name, picture_tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for line in COMMANDS[name]:
        assert run(shlex.split(line)[3:]) == 0, line


@pytest.fixture
def registries():
    """Registries that are again as they were when a test has ended."""
    before = [(registry, dict(registry)) for registry in (TERMS, METHODS)]
    yield
    for registry, lines in before:
        registry.clear()
        registry.update(lines)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(code):
    before = len(TERMS) + len(METHODS)
    exec(compile(code, "extending.md", "exec"), {})
    assert len(TERMS) + len(METHODS) == before + 1


@pytest.mark.full
@pytest.mark.usefixtures("registries")
def test_what_snippets_add_is_searched_and_compared():
    for code in SNIPPETS:
        exec(compile(code, "extending.md", "exec"), {})
    found = search({**EXAMPLE, "objective": {"terms": ["kd", "sharpness"]}}, mode="random")
    assert all("sharpness" in trial.params for trial in found.trials)
    assert compare(EXAMPLE, methods=["sharp"]).methods == ("sharp",)


@pytest.mark.full
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    settings = ROOT / "docs" / "site" / "mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", settings, "--site-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "docs/tutorial/index.html"
    parts = re.findall(r'(?:href|src)="(?!http)([^"]+\.(?:css|js))"', page.read_text())
    assert {part.rpartition(".")[2] for part in parts} == {"css", "js"}
    for part in parts:
        assert (page.parent / part).is_file(), part
