"""Many ranks make one run: values and derivatives are those of one process, whatever they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from metaft.config.schema import HypergradConfig
from metaft.inner.registry import ESTIMATORS
from tests.inner.problems import H, problem


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


def hypergradients(settings: dict[str, Any]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """The value and the derivative by every estimator, on a problem with every term."""
    case = problem("vit", by_group=True, **settings)
    found = {}
    for name, (estimator, options) in WAYS.items():
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


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (2, {}),
        pytest.param(3, {}, marks=pytest.mark.full),
        pytest.param(4, {}, marks=pytest.mark.full),
        pytest.param(2, {"accumulate": 2}, marks=pytest.mark.full),
    ],
)
def test_a_hypergradient_is_that_of_one_process(count, settings, tmp_path):
    """In float64, for a batch of six images: of two, three and four ranks, of which the last have rows to spare."""
    alone = hypergradients(settings)
    for found in on_ranks(count, hypergradients, tmp_path, settings):
        same(found, alone)
        assert set(found["keep"][1]) >= set(H)
