"""Many ranks make one run: values and derivatives are those of one process, whatever they are asked for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from metaft import config, pipeline, ranks
from metaft.apart import apart
from metaft.build.fits import fit_settings
from metaft.build.workspace import workspace
from metaft.config.schema import HypergradConfig
from metaft.errors import DataError, MetaftError
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train
from metaft.inner.registry import ESTIMATORS
from metaft.objective import Objective
from metaft.run import main
from tests.conftest import SMALL
from tests.inner.problems import H, problem

ROOT = Path(__file__).parent.parent


def on_ranks(count: int, body: Callable[..., Any], folder: Path, *args: Any) -> list[Any]:
    """What a function of this module gives on each of some ranks."""
    spawn(_rank, (count, body, folder, args), nprocs=count)
    return [torch.load(folder / f"{i}.pt", weights_only=False) for i in range(count)]


def _rank(number: int, count: int, body: Callable[..., Any], folder: Path, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=count)
    torch.save(body(*args), folder / f"{number}.pt")
    dist.destroy_process_group()


WAYS = {
    "keep": ("unroll", {"storage": "keep"}),
    "replay": ("unroll", {"storage": "replay"}),
    "segments": ("unroll", {"storage": "segments"}),
    "forward": ("forward", {}),
    "truncated": ("truncated", {"last": 2}),
    "one_step": ("one_step", {}),
    "implicit": ("implicit", {"iterations": 3, "damping": 0.1}),
    "differences": ("differences", {"spacing": 1e-4}),
    "one side": ("differences", {"spacing": 1e-4, "sides": "one"}),
}


def hypergradients(settings: dict[str, Any], ways: Iterable[str]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """The value and the derivative in several ways, on a problem with every term."""
    case = problem("vit", by_group=True, **settings)
    found = {}
    for name in ways:
        estimator, options = WAYS[name]
        h = {k: v for k, v in case.h.items() if not (estimator == "implicit" and k.startswith(("lr", "wd")))}
        fixed = {k: v for k, v in case.h.items() if k not in h}
        loop = case.loop(h=h, step=Fixed(case.step, fixed)) if fixed else case.loop()
        found[name] = ESTIMATORS[estimator].make(HypergradConfig(**options))(loop)
    return found


class Fixed:
    """A step with some hyperparameters filled in."""

    def __init__(self, step: Any, fixed: dict[str, Tensor]) -> None:
        self._step, self._fixed = step, fixed

    def __call__(self, state: Any, batch: Any, h: Any) -> Any:
        return self._step(state, batch, {**self._fixed, **h})

    def plain(self, state: Any, batch: Any, h: Any) -> Any:
        return self._step.plain(state, batch, {**self._fixed, **h})

    def loss(self, params: Any, batch: Any, h: Any) -> Tensor:
        return self._step.loss(params, batch, {**self._fixed, **h})


def same(ours: Any, theirs: Any) -> None:
    for name, (value, gradient) in theirs.items():
        assert float(ours[name][0]) == pytest.approx(float(value), rel=1e-12), name
        length = max(abs(float(g)) for g in gradient.values())
        for key, number in gradient.items():
            assert abs(float(ours[name][1][key]) - float(number)) < 1e-9 * length, (name, key)


STEPS = 50


def tuned(objective: Objective) -> dict[str, Tensor]:
    """The weights after a fine-tune of the toy CLIP in float32 on some terms; sources and captions have rows apart."""
    cfg = config.load(None, [*SMALL, "finetune.batch_size=30", "data.options.id_train=90", "data.options.ood_val=40"])
    work = workspace(cfg)
    settings = replace(fit_settings(work), steps=STEPS)
    data = replace(work.splits.search_data, more={"ood_val": work.splits.ood_val})
    return dict(train(work.classifier, objective, data, FitContext(settings), "tuned").state_dict())


def refused() -> list[str]:
    """What ranks say of an error of the second, of another run on it, and of batches that two do not divide."""
    said = []
    for body in (
        lambda: ranks.agreed(one_refuses),
        lambda: ranks.alone(refuses),
        lambda: ranks.refuse_others({"data": {"id_train": {"n": 3 + ranks.number()}, "same": 1}}),
        lambda: pipeline.checked(workspace(config.load(None, [*SMALL, "inner.batch_size=15"]))),
    ):
        with pytest.raises(MetaftError) as error:
            body()
        said.append(str(error.value))
    assert ranks.told(ranks.number()) == 0
    assert ranks.alone(lambda: 7 + ranks.number()) == 7
    assert ranks.gathered(ranks.number()) == list(range(ranks.count()))
    return said


def one_refuses() -> int:
    if ranks.number() == 1:
        refuses()
    return 3


def refuses() -> None:
    raise DataError("a picture is torn")


def uneven() -> list[Tensor]:
    """Outputs of six images and four captions, of which the last two of four ranks have one each."""
    rows = {"images": torch.arange(6.0)[:, None], "tokens": torch.arange(4.0)[:, None]}

    def run(params: Any, images: Tensor, tokens: Tensor | None) -> list[Tensor | None]:
        return [images + 1, images + 2, None if tokens is None else tokens + 3, torch.tensor(4.0)]

    return [t for t in apart(run, {}, rows["images"], rows["tokens"]) if t is not None]


def all_of_it() -> tuple[Any, ...]:
    return hypergradients({}, WAYS), tuned(OBJECTIVE), refused()


OBJECTIVE = Objective({"ce": 1.0, "flyp": 0.3, "kd": 0.5, "l2init": 0.1}, lr=1e-4, wd=0.1, sources={"ood_val": 0.5})


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """To a millionth of the length of all weights."""
    length = torch.stack([t.double().norm() for t in theirs.values()]).norm()
    apart = torch.stack([(ours[k].double() - t.double()).norm() for k, t in theirs.items()]).norm()
    assert apart < 1e-6 * length, float(apart / length)


@pytest.mark.full
def test_two_ranks_are_one_process(tmp_path):
    """Hypergradients in float64 by estimators, a fine-tune in float32, and errors."""
    alone, weights = hypergradients({}, WAYS), tuned(OBJECTIVE)
    first, second = on_ranks(2, all_of_it, tmp_path)
    for found in (first, second):
        same(found[0], alone)
        close(found[1], weights)
    assert all(torch.equal(t, second[1][name]) for name, t in first[1].items()), "ranks have the same bits"
    assert not all(torch.equal(t, weights[name]) for name, t in first[1].items()), "of sums in another order"
    assert (
        first[2]
        == second[2]
        == [
            "a picture is torn",
            "a picture is torn",
            "1 problem in the settings:\n  - rank 1: data: id_train is {'n': 4}; allowed: {'n': 3}, as on rank 0.",
            "1 problem in the settings:\n"
            "  - inner.batch_size: 15, which 2 ranks do not divide; allowed: a multiple of 2.",
        ]
    )


@pytest.mark.full
def test_as_many_captions_as_images_of_a_rank_are_no_captions(tmp_path):
    for found in on_ranks(4, uneven, tmp_path):
        assert [t.flatten().tolist() for t in found[:3]] == [[1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7], [3, 4, 5, 6]]
        assert float(found[3]) == 4


def test_what_only_another_rank_has_is_refused(monkeypatch):
    described = [{"data": {"id_test": 1}}, {"data": {"id_test": 1, "ood_test/fog": 2}}]
    monkeypatch.setattr(ranks, "gathered", lambda first: described)
    with pytest.raises(MetaftError, match="rank 1: data: ood_test/fog is 2; allowed: not there, as on rank 0"):
        ranks.refuse_others(described[0])


def test_a_port_that_is_taken(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        for name, value in {**MEET, "MASTER_PORT": str(taken.getsockname()[1])}.items():
            monkeypatch.setenv(name, value)
        assert main(["--list", "methods"]) == 2
    said = capsys.readouterr().err
    assert "error: MASTER_ADDR, MASTER_PORT: localhost:" in said
    assert "2 ranks do not meet" in said
    assert said.count("\n") == 1


@pytest.mark.full
@pytest.mark.parametrize(("count", "settings"), [(3, {}), (4, {}), (2, {"accumulate": 2})])
def test_a_hypergradient_is_that_of_one_process(count, settings, tmp_path):
    """In float64, for a batch of six images: of four ranks, the last have rows to spare."""
    alone = hypergradients(settings, WAYS)
    for found in on_ranks(count, hypergradients, tmp_path, settings, tuple(WAYS)):
        same(found, alone)
        assert set(found["keep"][1]) >= set(H)


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
RUN = (*SMALL, "search.trials=8", "evaluation.methods=[zero_shot, ft, autoft]")


def by_one_process(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "metaft.run", *words]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def torchrun(folder: Path, *words: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*TORCHRUN, "-m", "metaft.run", *words]
    return subprocess.Popen(command, cwd=folder, env=environment(), text=True, start_new_session=True, **pipes)


@pytest.mark.full
def test_a_run_by_torchrun(tmp_path):
    """It comes to what one process comes to, in shards too; when a rank dies, so do the others, and any number goes on.

    A search by hypergradients does not: in float32, after so few steps of AdamW, they hang on the order of sums by
    percents, with one process on two threads as much as with two ranks. In float64 they agree (above).
    """
    by_one_process(tmp_path, "--mode", "tpe", *RUN, "--out", "alone")
    killed = torchrun(tmp_path, "--mode", "hypergrad", *RUN, "inner.shard=true", "--out", "killed")
    wait_for(tmp_path / "killed" / "search" / "trials.jsonl", lines=5)
    children = subprocess.run(["pgrep", "-P", str(killed.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[1]), signal.SIGKILL)
    begun = time.monotonic()
    killed.communicate()
    assert time.monotonic() - begun < 60
    whole = torchrun(tmp_path, "--mode", "tpe", *RUN, "finetune.shard=true", "--out", "two")
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    assert out.count("is handed back") == 1, "one rank prints"
    by_one_process(tmp_path, "--resume", "killed")
    one, other = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("alone", "two"))
    assert other["handed_back"]["method"] == one["handed_back"]["method"]
    for part in ("terms", "lr", "wd"):
        assert other["objective"][part] == pytest.approx(one["objective"][part], rel=1e-6), part
    assert (tmp_path / "killed" / "results.json").exists()
    for name in ("two", "killed"):
        theirs, ours = (load_file(tmp_path / run / "checkpoints" / "ft.safetensors") for run in ("alone", name))
        close(ours, theirs)


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("finetune.batch_size=51",), "finetune.batch_size: 51, which 2 ranks do not divide; allowed: a multiple of 2"),
        (
            ("finetune.shard=true", "evaluation.methods=[ft, spd]"),
            "finetune.shard: true, and 'spd' needs whole tensors",
        ),
        (("search.executor=processes", "--mode", "tpe"), "search.executor: processes on 2 ranks; allowed: serial"),
        (("data.options.test=0",), "data.options.test"),
        (("finetune.lr=fast", "inner.stps=3"), "inner.stps: unknown key"),
        (("search.trials=1",), "trials"),
        (("search.trials=1", "--dry-run"), "trials"),
        (("search.warm_start=absent",), "search.warm_start: "),
        (("data.options.test=0", "--dry-run"), "data.options.test"),
    ],
)
def test_bad_input_is_told_once(tmp_path, words, said):
    run = torchrun(tmp_path, "--mode", "hypergrad", *SMALL, *words, "--out", "run")
    _, err = run.communicate()
    assert run.returncode != 0
    told = [line for line in err.splitlines() if said in line and "command" not in line]
    assert len(told) == 1, err
    assert not (tmp_path / "run").exists()


def wait_for(path: Path, lines: int, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not path.exists() or path.read_text().count("\n") < lines:
        assert time.monotonic() < end, path
        time.sleep(0.1)


MEET = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"WORLD_SIZE": "2"}, "error: RANK, MASTER_ADDR, MASTER_PORT: not set, beside WORLD_SIZE=2; allowed: all, as"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "a"}, "rank 1: error: MASTER_PORT: not set"),
        ({"WORLD_SIZE": "two"}, "error: WORLD_SIZE: 'two'; allowed: a whole number, as torchrun sets it, or not set."),
        ({**MEET, "RANK": "2"}, "rank 2: error: RANK: 2; allowed: less than 2"),
        ({**MEET, "RANK": "first"}, "error: RANK: 'first'; allowed: a whole number"),
        ({**MEET, "MASTER_PORT": "65536"}, "error: MASTER_PORT: 65536; allowed: less than 65536"),
        ({**MEET, "MASTER_ADDR": "no host"}, "error: MASTER_ADDR: 'no host' ("),
    ],
)
def test_an_environment_in_which_ranks_cannot_meet(there, said, monkeypatch, capsys):
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    assert main(["--list", "methods"]) == 2
    assert capsys.readouterr().err.startswith(said)
