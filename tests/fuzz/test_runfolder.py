"""Folders of runs: a run goes on to the results that it would have had, or what is wrong is named."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from metaft import config, pipeline, predict
from metaft.build.carried import Carried, given
from metaft.build.problem import problem_in
from metaft.build.workspace import Workspace
from metaft.checkpoints import Checkpoints
from metaft.config import Config
from metaft.cost import Cost
from metaft.finetune.fits import Fit
from metaft.objective import Objective, load_objective
from metaft.progress import be_quiet
from metaft.provenance import identity
from metaft.report import __main__ as report
from metaft.report import figures, tables
from metaft.report.document import SUM, read, sealed
from metaft.report.page import render
from metaft.report.run import run_in
from metaft.results import Results
from metaft.run import main
from metaft.runfolder import Identity, RunFolder
from metaft.search.journal import Journal
from metaft.search.solvers.blackbox import earlier
from metaft.space import Space
from tests.conftest import JUDGE
from tests.fuzz.cases import CODES, FEWER, SLOW, answer_of, damage, damages, end_of, fuzzed
from tests.fuzz.test_journal import VALUES, drawn_place, state
from tests.results import DOCUMENT

TINY = (
    *JUDGE,
    "data.options={id_train: 50, id_val: 20, ood_val: 30, test: 20}",
    *("inner.steps=1", "inner.batch_size=8", "search.mode=tpe", "search.trials=2", "search.candidates=1"),
    *("finetune.epochs=1", "finetune.batch_size=25", "evaluation.bootstrap=100"),
    "evaluation.methods=[zero_shot, ft, autoft]",
)
KINDS = ("whole", "part")
Harm = Mapping[str, bytes | str]
real_opening = pipeline.opened


@pytest.fixture(autouse=True)
def _made(request):
    be_quiet(True)
    if "checkpoints" not in request.node.name:
        made()  # no part of drawing cases


@cache
def _opened(settings: str) -> Workspace:
    return real_opening(config.load(None, [f"{k}={json.dumps(v)}" for k, v in json.loads(settings).items()]))


def opened(cfg: Config) -> Workspace:
    """The workspace of the tiny runs, opened once; others are not opened."""
    flat = {k: v for k, v in config.flatten(cfg).items() if k != "out"}
    return _opened(json.dumps(flat))


def ran(*words: str) -> int:
    """The command line, but for opening the same data and drawing the same figure again and again."""
    with patch.object(pipeline, "opened", opened), patch.object(figures, "id_against_ood", drawn):
        return main([*words, "--quiet"])


def drawn(runs: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (1, 1)).save(path)
    return path


@cache
def made() -> Path:
    """The folders of a run that has ended, and of one that was interrupted as `autoft` was trained."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    assert ran("--out", str(place / "whole"), *TINY) == 0
    save = Checkpoints.save

    def interrupt(self, name, state):
        save(self, name, state)
        if name.startswith("autoft"):
            raise KeyboardInterrupt

    with patch.object(Checkpoints, "save", interrupt):
        assert ran("--out", str(place / "part"), *TINY) == 130
    assert (place / "part" / "objective.yaml").exists()
    assert list((place / "part" / "checkpoints").glob("*.training"))
    for lock in place.rglob("*.lock"):
        lock.unlink()
    return place


@cache
def files(kind: str) -> dict[str, bytes]:
    """The contents of a run's files."""
    paths = [path for path in (made() / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(made() / kind)): path.read_bytes() for path in paths}


READ = ("config.yaml", "identity.json", "metrics.jsonl", "results.json", "objective.yaml", "search/trials.jsonl")
GROWING = ("metrics.jsonl", "search/trials.jsonl")  # to which lines are added


@cache
def small(kind: str) -> dict[str, bytes]:
    """Those of them that are read when a run goes on, but for checkpoints."""
    return {name: files(kind)[name] for name in READ}


def harmed(folder: Path, kind: str, harm: Harm, names: Iterable[str] = ()) -> Path:
    """A copy of a run, or of some of its files, with damaged ones; it shares the contents of the others."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    for name in names or files(kind):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copyfile if name in GROWING else os.link)(made() / kind / name, run / name)
    damage(run, harm)
    return run


CASES = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), damages(lambda: small(kind))))


@cache
def prefixes(kind: str) -> frozenset[str]:
    """What is read of the first lines of a run's journal."""
    found = {state(Journal())}
    lines = small(kind)["search/trials.jsonl"].splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder:
        for count in range(1, len(lines) + 1):
            (Path(folder) / "t.jsonl").write_bytes(b"".join(lines[:count]))
            found.add(state(Journal(Path(folder) / "t.jsonl", read_only=True)))
    return frozenset(found)


@cache
def tiny() -> tuple[Identity, Space]:
    """What the runs are told by, and the space that they search."""
    work = opened(config.load(None, TINY))
    return identity(work), problem_in(work).space


@fuzzed(CASES, few=FEWER)
def test_readers(folder: Path, case: tuple[str, Harm]) -> None:
    """What is read is what was written, or it is refused."""
    kind, harm = case
    run, (known, space) = harmed(folder, kind, harm, READ), tiny()
    again, whole = RunFolder(run, known), written(kind)[0]
    answer_of(lambda: RunFolder.reopened(run, known))
    results = answer_of(lambda: within(again, again.results))
    assert results in (None, whole)
    journal = answer_of(lambda: within(again, again.journal))
    assert journal is None or state(journal) in prefixes(kind)
    answer_of(lambda: earlier(run / "search" / "trials.jsonl", space))
    if harm.keys() & {"config.yaml", "objective.yaml"}:
        carried = answer_of(lambda: given(run))
        assert isinstance(carried, Carried | None)
        kept = carried and answer_of(lambda: pipeline._kept(carried.objective, again, whole))
        assert kept in (None, written(kind)[1])
    end_of(lambda: Results.load(run))
    end_of(lambda: rendered(run))


@cache
def written(kind: str) -> tuple[Results, Objective]:
    """The results and the objective of a run."""
    return Results.load(made() / kind), load_objective(made() / kind / "objective.yaml")


def within(again: RunFolder, function: Any) -> Any:
    with again.claimed():
        return function()


def rendered(run: Path) -> str:
    document = read(run)
    return tables.page(document) + tables.methods_table(document) + render([run_in(run, document)], "run")


def layer() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


@cache
def kept() -> dict[str, bytes]:
    """The files of a fit and of a training of a small model."""
    with tempfile.TemporaryDirectory() as place:
        checkpoints, model = Checkpoints(Path(place), layer(), run="a"), layer()
        torch.nn.init.ones_(model.weight)
        checkpoints.put("ft", Fit(model, {"ft": Cost(1.0, 0.5)}, {"alpha": 0.3}))
        checkpoints.save("kd", {"step": 3, "variables": {"w": torch.arange(3.0)}, "best": {}, "training": {"lr": 0.1}})
        return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def taken(place: Path, name: str) -> str | None:
    """What is read of such a file, in words."""
    checkpoints = Checkpoints(place, layer(), run="a")
    if name == "kd.training":
        return str(checkpoints.load("kd"))
    fit = checkpoints.take("ft")
    return None if fit is None else str((fit.model.state_dict(), fit.costs, fit.chosen))


@cache
def as_written(name: str) -> str | None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / name).write_bytes(kept()[name])
        return taken(Path(place), name)


@fuzzed(damages(kept))
def test_checkpoints(folder: Path, harm: Harm) -> None:
    place = folder / "checkpoints"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, content in kept().items():
        (place / name).write_bytes(content)
    damage(place, harm)
    for name in kept():
        found = end_of(lambda name=name: taken(place, name))
        assert found in (None, "None", as_written(name))


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A results.json of which some values are others, with a checksum or without."""
    document = json.loads(json.dumps(draw(st.sampled_from((DOCUMENT, json.loads(small("whole")["results.json"]))))))
    document.pop(SUM, None)
    odd = {}
    for number in range(draw(st.integers(1, 2))):
        node, last = drawn_place(draw, document)
        change = draw(st.sampled_from(("put", "put", "put", "take", "more")))
        if change == "take":
            del node[last]
        else:
            odd[f'"@{number}@"'] = draw(VALUES)
            node[last if change == "put" or isinstance(node, list) else "$_\n"] = f"@{number}@"
    text = json.dumps(document)
    for mark, value in odd.items():
        text = text.replace(mark, value)
    return json.dumps(sealed(json.loads(text))) if draw(st.booleans()) else text


@fuzzed(documents(), few=FEWER)
def test_documents(folder: Path, text: str) -> None:
    (folder / "results.json").write_text(text)
    loaded = end_of(lambda: Results.load(folder))
    end_of(lambda: rendered(folder))
    if loaded is not None:
        assert loaded.table()
        assert loaded.best is None or loaded.best in loaded.methods
        loaded.write(folder)
        assert repr(Results.load(folder, unsealed=False)) == repr(Results.load(folder))


@fuzzed(documents(), few=3, many=SLOW)
@pytest.mark.filterwarnings("default")
def test_pages(folder: Path, text: str) -> None:
    (folder / "results.json").write_text(text)
    assert report.main([str(folder), "--out", str(folder / "page.html")]) in (0, *CODES)


WHOLE = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), damages(lambda: files(kind))))


@fuzzed(WHOLE, few=5, many=SLOW)
def test_resumed_runs(folder: Path, case: tuple[str, Harm]) -> None:
    """The numbers are those of the run that was left alone."""
    kind, harm = case
    run, whole = harmed(folder, kind, harm), Results.load(made() / "whole")
    code = ran("--resume", str(run))
    assert code in (0, *CODES)
    if code == 0:
        results = Results.load(run, unsealed=False)
        for part in ("scores", "objective", "ood_val", "handed_back", "failed", "mode"):
            assert getattr(results, part) == getattr(whole, part), part


@pytest.mark.full
@fuzzed(
    damages(lambda: {k: v for k, v in files("whole").items() if k.startswith(("model", "config"))}), few=10, many=SLOW
)
def test_models(folder: Path, harm: Harm) -> None:
    """What a model says of a picture is what the one that was written says, or it is refused."""
    run, picture = harmed(folder, "whole", harm), folder / "a.png"
    Image.new("RGB", (20, 20), (90, 30, 200)).save(picture)
    assert predict.main([str(run), str(picture), "--out", str(folder / "said.csv")]) in (0, *CODES)
