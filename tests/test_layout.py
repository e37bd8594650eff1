"""The structure of the package: no circles, one door to higher, nothing heavy where names are read."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import metaft

ROOT = Path(metaft.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
HEAVY = ("torch", "open_clip", "matplotlib", "sklearn")
FACES = {
    "build",
    "config",
    "inner",
    "objective",
    "search/problem",
    "search/tpe",
}  # packages that lend names to those outside


def module_file(dotted: str) -> Path | None:
    """The file of a module of the package."""
    path = ROOT.parent / Path(*dotted.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.exists()), None)


def imports(file: Path) -> set[Path]:
    """The files that a file imports, wherever in it, those for the type checker included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {module_file(alias.name) for alias in node.names if alias.name.startswith("metaft")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metaft"):
            assert node.level == 0, f"{file}: relative import"
            package = module_file(str(node.module))
            found |= {module_file(f"{node.module}.{alias.name}") or package for alias in node.names}
    return {f for f in found if f is not None}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_no_file_imports_one_that_imports_it():
    graph = {name_of(file): {name_of(other) for other in imports(file)} for file in MODULES}
    assert sum(map(len, graph.values())) > 400, "the imports are read"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_files_import_files_not_faces(file):
    """What a package lends to those outside is no place to import from within: it would hide who needs whom."""
    faces = {ROOT / face / "__init__.py" for face in FACES}
    assert not (imports(file) & faces) or name_of(file) in {"run.py"}


def test_only_the_step_imports_higher():
    users = [m for m in MODULES if "import higher" in m.read_text(encoding="utf-8")]
    assert [name_of(m) for m in users] == ["inner/step.py"]


def loaded(code: str) -> set[str]:
    """The heavy packages that some code imports, in a process of its own."""
    show = f"import json, sys; print('\\n' + json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


COMMANDS = [
    *(["--list", what] for what in ("terms", "methods", "datasets", "executors", "estimators", "trackers")),
    ["--validate"],
    ["--validate", "--config", "configs/groups.yaml"],
    ["--validate", "--config", "configs/folder.yaml", "data.root=pictures"],
    ["--validate", "--config", "configs/csv.yaml", "data.root=pictures"],
    ["--validate", "data.format=cifar10", "data.root=pictures", "data.options.severity=3", "data.shots=4"],
    ["--validate", "data.format=imagenet", "data.root=pictures", "data.options.tests=[objectnet]"],
    ["--validate", "--config", "configs/webdataset.yaml", "data.root=sets"],
    ["--validate", "--config", "configs/hf.yaml", "data.root=set"],
    ["--print-config", "inner.steps=7"],
    ["--validate", "report_to=[tensorboard, wandb]"],
    ["--mode", "tpo"],
    ["--mode", "tpe", "inner.stepps=7", "objective.terms=[hing]", "data.options.tset=3", "model.name=ViT-B-31"],
    ["--mode", "tpe", "--objective", "absent.yaml"],
    [],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_names_and_settings_load_nothing_heavy(words):
    assert loaded(f"from metaft.run import main\nmain({words!r})") == set()


def test_help_and_the_package_load_nothing_heavy():
    assert loaded("from metaft.run import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass") == set()
    assert loaded("from metaft.data.__main__ import main\nmain(['cifar-10', '--root', 'pictures'])") == set()
    assert loaded("import metaft\ndir(metaft)\nmetaft.Space([metaft.Float('lr', 0, 1)])\nmetaft.Config()") == set()
    assert loaded("import metaft.results, metaft.report.tables, metaft.report.document, metaft.config") == set()


def test_report_knows_no_torch():
    """A page is drawn without matplotlib, too, which the PNG of a run's folder alone needs."""
    assert loaded("import metaft.report.write, metaft.report.__main__") == set()


def test_files_are_short():
    long = {name_of(m): n for m in MODULES if (n := len(m.read_text().splitlines())) > 320}
    assert not long
