"""A module imports only what stands above it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import metaft

ROOT = Path(metaft.__file__).parent
ORDER = (
    *(
        "__init__",
        "errors",
        "files",
        "progress",
        "yamlfile",
        "settings",
        "config",
        "data",
        "clip",
        "objective",
        "metrics",
        "hooks",
        "inner",
    ),
    *(
        "search",
        "finetune",
        "evaluation",
        "report",
        "runfolder",
        "checks",
        "spaces",
        "searches",
        "build",
        "dryrun",
        "run",
        "optim",
        "api",
    ),
)
MODULES = sorted(ROOT.rglob("*.py"))


def part_of(module: Path) -> str:
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(module: Path) -> set[str]:
    """Top-level parts of metaft that a module imports, wherever in the file, but for the type checker's own."""
    found = set()
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            words = name.split(".")
            if words[0] == "metaft" and len(words) > 1:
                found.add(words[1] if words[1] in ORDER else "__init__")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_imports_go_upwards(module):
    own = part_of(module)
    assert own in ORDER, f"{own} has no place in the order"
    below = {name for name in imports(module) if ORDER.index(name) > ORDER.index(own)}
    assert not below, f"{module.relative_to(ROOT)} imports {below} from below"


def test_only_the_step_imports_higher():
    users = [m for m in MODULES if "import higher" in m.read_text(encoding="utf-8")]
    assert [str(m.relative_to(ROOT)) for m in users] == ["inner/step.py"]


def test_report_and_config_know_no_torch():
    code = "import metaft.report.write, metaft.config, json, sys; print(json.dumps('torch' in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert json.loads(out.stdout) is False


def test_files_are_short():
    long = {str(m.relative_to(ROOT)): n for m in MODULES if (n := len(m.read_text().splitlines())) > 320}
    assert not long
