"""Peers: stock higher, TorchOpt, hypertorch's way and betty's estimates, on the loop that our estimators are given."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import higher
import torch
from torch import Tensor
from torch.func import functional_call

from metaft.clip.classifier import picked_parameters
from metaft.inner import second_order_attention
from metaft.temperature import ce_calibrated
from metaft.training.batches import TrainBatch
from shared.innerloop import Result, Setting

TINY = 1e-30  # below the root of Adam's second moment, whose derivative at 0 would be infinite
Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class Peer:
    """A way of another package, which is imported when it is used; `storage`: keep or replay, as ours are called."""

    estimate: Callable[[Setting], Result]
    storage: str = "keep"
    package: str | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be measured here."""
        return self.package is None or find_spec(self.package) is not None


def stock_higher(setting: Setting) -> Result:
    """higher's own patched model and Adam, every graph kept."""
    leaves = _leaves(setting)
    trained = picked_parameters(setting.classifier, setting.step.pretrained)
    frozen = [p for p in setting.classifier.parameters() if not p.requires_grad]
    optimizer = torch.optim.Adam(
        [{"params": [trained[n] for n in names]} for names in setting.groups.values()], eps=setting.constants.eps
    )
    optimizer.add_param_group({"params": frozen})
    lr, wd = ([leaves.get(f"{n}@{g}", leaves.get(n)) for g in (*setting.groups, "frozen")] for n in ("lr", "wd"))
    names = [name for name, _ in setting.classifier.named_parameters()]
    override = {"lr": lr, "weight_decay": wd}
    with (
        second_order_attention(),
        higher.innerloop_ctx(setting.classifier, optimizer, override=override) as (model, adam),
    ):
        for batch in setting.batches:
            params = dict(zip(names, model.parameters(), strict=True))
            moved = {name: params[name] for name in trained}
            out = model(batch.images, batch.tokens)
            adam.step(setting.loss(batch.observe(out, moved, setting.step.pretrained), leaves))
        value = ce_calibrated(model(setting.last.images).logits, setting.last.labels)
        return _derivative(value, leaves)


def with_torchopt(setting: Setting) -> Result:
    """TorchOpt's differentiable AdamW (what its MetaAdamW steps with), every graph kept; it takes wd as a number."""
    torchopt = importlib.import_module("torchopt")
    leaves, constants = _leaves(setting), setting.constants
    adamw = torchopt.adamw(
        lr=leaves["lr"],
        betas=constants.betas,
        eps=constants.eps,
        eps_root=TINY,
        weight_decay=float(leaves.pop("wd").detach()),
        moment_requires_grad=True,
    )
    params = _begin(setting)
    state = adamw.init(params)
    with second_order_attention():
        for batch in setting.batches:
            grads = _gradients(_loss(setting, params, batch, leaves), params, create_graph=True)
            updates, state = adamw.update(grads, state, params=params, inplace=False)
            params = torchopt.apply_updates(params, updates, inplace=False)
        return _derivative(_outer(setting, params), leaves)


@dataclass(frozen=True)
class Iterate:
    """Parameters and Adam's moments, by name."""

    params: Params
    exp_avg: Params
    exp_avg_sq: Params

    @property
    def tensors(self) -> list[Tensor]:
        """All in a row."""
        return [*self.params.values(), *self.exp_avg.values(), *self.exp_avg_sq.values()]

    def map(self, change: Callable[[Tensor], Tensor]) -> Iterate:
        """With every tensor changed."""
        parts = (self.params, self.exp_avg, self.exp_avg_sq)
        return Iterate(*({name: change(x) for name, x in part.items()} for part in parts))


def recomputed(setting: Setting) -> Result:
    """Back through one recomputed step after the other, of elementary operations (as hypertorch's `reverse` does).

    Source: Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, ICML 2017, algorithm 1.
    """
    leaves, params = _leaves(setting), _begin(setting)
    zeros = {name: torch.zeros_like(p) for name, p in params.items()}
    history = [Iterate(params, zeros, zeros)]
    with second_order_attention():
        for t in range(len(setting.batches)):
            history.append(_moved(setting, history[t].map(_leaf), leaves, t, create_graph=False).map(Tensor.detach))
        end = history.pop().map(_leaf)
        value = _outer(setting, end.params)
        adjoint = _pulled([value], [None], end.tensors)
        totals = [torch.zeros_like(x) for x in leaves.values()]
        for t, start in reversed(list(enumerate(history))):
            begin = start.map(_leaf)
            moved = _moved(setting, begin, leaves, t, create_graph=True)
            pulled = _pulled(moved.tensors, adjoint, [*begin.tensors, *leaves.values()])
            adjoint, by_h = pulled[: len(begin.tensors)], pulled[len(begin.tensors) :]
            totals = [total + x for total, x in zip(totals, by_h, strict=True)]
    return value.detach(), dict(zip(leaves, totals, strict=True))


def _moved(setting: Setting, at: Iterate, leaves: Params, t: int, *, create_graph: bool) -> Iterate:
    """One step of AdamW in elementary operations."""
    (b1, b2), eps = setting.constants.betas, setting.constants.eps
    grads = _gradients(_loss(setting, at.params, setting.batches[t], leaves), at.params, create_graph=create_graph)
    m = {name: b1 * x + (1 - b1) * grads[name] for name, x in at.exp_avg.items()}
    v = {name: b2 * x + (1 - b2) * grads[name] ** 2 for name, x in at.exp_avg_sq.items()}
    lr, wd, first, second = leaves["lr"], leaves["wd"], 1 - b1 ** (t + 1), 1 - b2 ** (t + 1)
    params = {
        name: (1 - lr * wd) * p - lr * (m[name] / first) / ((v[name] / second + TINY).sqrt() + eps)
        for name, p in at.params.items()
    }
    return Iterate(params, m, v)


@dataclass(frozen=True)
class Level:
    """A level of a problem as betty's estimates see it."""

    tensors: list[Tensor]
    loss: Callable[[TrainBatch], Tensor] | None = None
    cur_batch: TrainBatch | None = None
    config: Any = None
    paths: list[Any] = field(default_factory=list)

    def trainable_parameters(self) -> list[Tensor]:
        """What the level moves."""
        return self.tensors

    parameters = trainable_parameters

    def training_step_exec(self, batch: TrainBatch) -> Tensor:
        """The level's loss."""
        assert self.loss is not None, "the upper level is not asked"
        return self.loss(batch)


def with_betty(name: str) -> Callable[[Setting], Result]:
    """An estimate of betty's with its defaults, at the end of the loop on its last batch; of the loss weights alone."""

    def estimate(setting: Setting) -> Result:
        betty = importlib.import_module(f"betty.hypergradient.{name}")
        config = importlib.import_module("betty.configs").Config(type=name)
        values = _leaves(setting)
        weights = {name: x for name, x in values.items() if name not in ("lr", "wd")}
        model = setting.plain()
        params = picked_parameters(model, setting.step.pretrained)

        def loss(batch: TrainBatch) -> Tensor:
            out = model(batch.images, batch.tokens)
            return setting.loss(batch.observe(out, params, setting.step.pretrained), values)

        with second_order_attention():
            value = ce_calibrated(model(setting.last.images).logits, setting.last.labels)
            vector = _pulled([value], [None], params.values())
            lower = Level(list(params.values()), loss, setting.batches[-1], config)
            gradients = getattr(betty, name)(vector, lower, SimpleNamespace(trainable_parameters=weights.values))
        return value.detach(), dict(zip(weights, gradients, strict=True))

    return estimate


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _leaves(setting: Setting) -> dict[str, Tensor]:
    return {name: _leaf(x) for name, x in setting.h.items()}


def _begin(setting: Setting) -> dict[str, Tensor]:
    return {n: _leaf(p) for n, p in picked_parameters(setting.classifier, setting.step.pretrained).items()}


def _loss(setting: Setting, params: Params, batch: TrainBatch, h: Params) -> Tensor:
    out = functional_call(setting.classifier, dict(params), (batch.images, batch.tokens))
    return setting.loss(batch.observe(out, params, setting.step.pretrained), h)


def _outer(setting: Setting, params: Params) -> Tensor:
    logits = functional_call(setting.classifier, dict(params), (setting.last.images,)).logits
    return ce_calibrated(logits, setting.last.labels)


def _gradients(loss: Tensor, params: Params, *, create_graph: bool) -> dict[str, Tensor]:
    grads = torch.autograd.grad(
        loss, list(params.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return dict(zip(params, grads, strict=True))


def _pulled(outputs: list[Tensor], adjoint: Any, inputs: Iterable[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(outputs, list(inputs), adjoint, allow_unused=True, materialize_grads=True))


def _derivative(value: Tensor, leaves: Params) -> Result:
    return value.detach(), dict(zip(leaves, _pulled([value], None, leaves.values()), strict=True))


PEERS = {
    "stock higher": Peer(stock_higher),
    "torchopt": Peer(with_torchopt, package="torchopt"),
    "recomputed": Peer(recomputed, "replay"),
    "betty darts": Peer(with_betty("darts"), package="betty"),
    "betty neumann": Peer(with_betty("neumann"), package="betty"),
}
