"""The pages on contributing and on other tools, the changelog and the citation: commands, examples and links hold."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml

import metaft
from metaft.__main__ import COMMANDS, main
from metaft.build.fits import fits as fits_of
from metaft.data import registry as formats
from metaft.data.__main__ import main as look
from metaft.finetune import methods
from metaft.objective import losses
from metaft.objective import registry as terms
from metaft.search import registry as samplers
from metaft.space import Float, Space
from tests.objective import states

ROOT = Path(metaft.__file__).parent.parent
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("contributing", "tools", "changelog")}
COMMANDS_OF = {
    name: [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    for name, page in PAGES.items()
}
CI = (ROOT / ".ci" / "run").read_text().splitlines()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGES["contributing"], re.S)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def holds_of_metaft(words: list[str]) -> bool:
    """Whether the command, or its module, takes these words."""
    if words[0].startswith("-"):
        try:
            return main(words) == 0
        except SystemExit as end:
            return end.code == 0
    name, *others = words
    if name == "run":
        return main(["run", *others, *([] if "--list" in others else ["--validate"])]) == 0
    return COMMANDS[name].parser(f"metaft {name}").parse_args(others) is not None


def holds(line: str) -> bool:
    """Whether a command is one that CI runs, or that its program takes."""
    words = shlex.split(line.partition(" > ")[0])
    if line in CI:
        return True
    if words[0] == "metaft":
        return holds_of_metaft(words[1:])
    if words[:2] == ["python", "-m"]:
        return holds_of_metaft([words[2].removeprefix("metaft."), *words[3:]])
    if words[0] == "python":
        quick = words[2:4] == ["--quick", "--out"] and len(words) == 5  # which tests/test_benchmarks.py runs
        return (ROOT / words[1]).exists() and quick
    assert words[0] == "pytest", line
    places = [word for word in words[1:] if word.startswith("tests")]
    others = [word for word in words[1:] if word not in places]
    known = {"-m", "full", "full or not full", "-n", "0"}
    return all((ROOT / place).exists() for place in places) and set(others) <= known


@pytest.mark.parametrize("line", [line for lines in COMMANDS_OF.values() for line in lines])
def test_commands(line):
    assert holds(line)


def test_there_are_commands():
    assert {name: len(lines) > 5 for name, lines in COMMANDS_OF.items()} == {
        **dict.fromkeys(("contributing", "tools"), True),
        "changelog": False,
    }


@pytest.mark.parametrize("name", PAGES)
def test_files_named_exist(name):
    for path in re.findall(r"`((?:metaft|tests|benchmarks|configs|docs|\.ci)/[\w/.]+)", PAGES[name]):
        assert (ROOT / path).exists(), path


def test_extras_named_exist():
    named = set(re.findall(r"metaft\[([\w,]+)\]", "".join(PAGES.values())))
    assert {extra for names in named for extra in names.split(",")} <= set(PROJECT["optional-dependencies"])


def test_a_term():
    function, line = EXAMPLES[:2]
    exec(function, space := dict(vars(losses)))
    term, state = eval(line, dict(vars(terms))), states.state()
    assert (term.name, term.function.place) == ("focal", "metaft.objective.losses:focal")
    p = torch.softmax(state.logits, dim=1)[range(len(state.labels)), state.labels]
    expected = [-((1 - q) ** 2) * np.log(q) for q in p.tolist()]
    assert space["focal"](state).item() == pytest.approx(np.mean(expected), rel=1e-5)


def module(monkeypatch, name: str, text: str) -> None:
    """Let a module of this name have this text."""
    made = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(text, name, "exec"), vars(made))


def test_a_method(work, monkeypatch):
    module(monkeypatch, "metaft.finetune.methods.midway", EXAMPLES[2])
    name, kind = eval(EXAMPLES[3], dict(vars(methods)))
    monkeypatch.setitem(methods.METHODS, name, kind)
    fits = fits_of(work)
    begin, end, found = (dict(fits.model(n).named_parameters()) for n in ("zero_shot", "ft", "midway"))
    for key, p in found.items():
        torch.testing.assert_close(p, (begin[key] + end[key]) / 2)


def test_a_format(monkeypatch, tmp_path, capsys):
    module(monkeypatch, "metaft.data.arrays", EXAMPLES[4])
    monkeypatch.setitem(formats.FORMATS, "arrays", eval(EXAMPLES[5], dict(vars(formats))))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    splits = ("id_train", "id_val", "ood_val", "id_test")
    arrays = {f"{split}_images": rng.integers(255, size=(6, 32, 32, 3), dtype=np.uint8) for split in splits}
    arrays |= {f"{split}_labels": np.arange(6) % 2 for split in splits}
    np.savez(tmp_path / "arrays.npz", names=["cat", "dog"], **arrays)
    assert look(["arrays", "--root", "."]) == 0
    assert " id_train | 6 | 2 of 2 | 0 | cat: 3 " in re.sub(" +", " ", capsys.readouterr().out)
    del arrays["ood_val_labels"]
    np.savez(tmp_path / "arrays.npz", names=["cat", "dog"], **arrays)
    assert look(["arrays", "--root", "."]) == 3
    assert "no ood_val; allowed: ood_val_images and ood_val_labels" in capsys.readouterr().err
    assert look(["arrays"]) == 2


def test_python_of_tools_runs(capsys, monkeypatch):
    study, mode = re.findall(r"```python\n(.*?)```", PAGES["tools"], re.S)
    exec(compile(study, "tools.md", "exec"), {})
    assert abs(eval(capsys.readouterr().out)["x"]) < 0.1
    monkeypatch.setattr(samplers, "SAMPLERS", dict(samplers.SAMPLERS))
    exec(compile(mode, "tools.md", "exec"), {})
    sampler = samplers.SAMPLERS["optuna-joint"].make(Space([Float("x", -1.0, 1.0)]), 0)
    assert -1 <= sampler.ask().params["x"] <= 1


def test_the_changelog_has_the_form_of_keep_a_changelog():
    heads = re.findall(r"^## (.*)$", PAGES["changelog"], re.M)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads[1:])
    kinds = re.findall(r"^### (.*)$", PAGES["changelog"], re.M)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_is_valid():
    """What cff-version 1.2.0 requires, and no more keys than it has; names are those of the licence."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert all(isinstance(citation[key], str) and citation[key] for key in ("message", "title"))
    assert {"authors", "title", "message", "cff-version"} <= citation.keys()
    assert citation.keys() <= {
        *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords"),
        *("license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact"),
        *("repository-code", "title", "type", "url", "version"),
    }
    assert (citation["type"], citation["license"]) == ("software", PROJECT["license"])
    (author,) = citation["authors"]
    assert f"Copyright (c) 2026 {author['name']}" in (ROOT / "LICENSE").read_text()
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert 1950 < reference["year"] <= date.today().year
        assert all({"family-names", "given-names"} == person.keys() for person in reference["authors"])
