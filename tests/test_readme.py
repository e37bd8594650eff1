"""The README is true: its commands and examples run, its table is that of the results, links and files exist."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

from metaft.data.__main__ import main as look
from metaft.report.__main__ import main as report
from metaft.run import main as run
from tests.pages import anchors

ROOT = Path(__file__).parent.parent
PAGES = {
    page: (ROOT / page).read_text(encoding="utf-8")
    for page in ("README.md", "benchmarks/README.md", "benchmarks/RESULTS.md")
}
TEXT = PAGES["README.md"]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines() if line]
INSTALLS = [line for line in COMMANDS if "pip install" in line]
METAFT = [line for line in COMMANDS if line.startswith("python -m metaft.")]
OTHERS = {"metaft.report": report, "metaft.data": look}  # modules beside metaft.run
PLAIN = ("--print-config", "--list")  # these take no settings


def test_every_command_is_of_a_tested_kind():
    assert len(INSTALLS) == 2
    assert set(COMMANDS) == {*INSTALLS, *METAFT}


def test_ci_runs_exactly_the_test_command():
    assert INSTALLS[1] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_commands_in_order(small, tmp_path, monkeypatch, picture_tree, capsys):
    """All commands one after the other in one folder, as a reader would; sizes are cut by overrides."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    first = INSTALLS[0].split(" && ")[-1]
    for line in [first, *METAFT]:
        words = shlex.split(line)[2:]
        module, arguments = words[0], words[1:]
        if module in OTHERS:
            assert OTHERS[module](arguments) == 0, line
            continue
        folder = any("folder.yaml" in word for word in arguments)
        cuts = [s for s in small if not (folder and s.startswith("data.options"))]
        if line != first and "methods.yaml" not in line:
            cuts.append("evaluation.methods=[zero_shot, autoft]")
        assert run([*arguments, *([] if set(PLAIN) & set(arguments) else cuts)]) == 0, line
    out = capsys.readouterr().out
    assert "| autoft " in out
    assert (tmp_path / "runs" / "report.html").exists()


SCRIPTS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.mark.full
@pytest.mark.parametrize("script", SCRIPTS)
def test_python_scripts_run(script, tmp_path, monkeypatch, picture_tree, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "README.md", "exec"), {})
    assert "| autoft " in capsys.readouterr().out


def test_newcomers_have_a_script_with_settings_and_one_with_objects():
    assert len(SCRIPTS) == 2
    assert "settings" in SCRIPTS[0]
    assert "ImageFolder" in SCRIPTS[1]


LONG = ("own_data", "compare_methods")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "example",
    [pytest.param(path, marks=[pytest.mark.full] if path.stem in LONG else []) for path in EXAMPLES],
    ids=lambda path: path.stem,
)
def test_examples_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")


def test_the_table_is_that_of_the_results():
    table = re.search(r"^\| \d+ worlds, \d+ cells .*?\n\n", TEXT, re.M | re.S)
    assert table
    assert table[0] in PAGES["benchmarks/RESULTS.md"], "copy it from benchmarks/RESULTS.md"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    own = {f"#{anchor}" for anchor in anchors(PAGES[page])}
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        assert link in own or (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_files_named_exist(page):
    for name in re.findall(r"`(?:python )?((?:metaft|tests|benchmarks|configs|docs)/[\w/.]+)[^`]*`", PAGES[page]):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_a_newcomer_reads_it_in_one_go():
    assert len(TEXT.splitlines()) <= 220
