"""One inner step: AdamW on higher's patched model, with explicit state in and out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaft.clip.classifier import Classifier, Outputs
from metaft.errors import ConfigError, Problem
from metaft.inner.adamw import Constants, adamw
from metaft.objective import WeightedLoss, per_group
from metaft.objective.batches import TrainBatch
from metaft.objective.state import StepState

with warnings.catch_warnings():
    # higher 0.2.1, compiled by a Python newer than itself: `is` with a literal, and a stray backslash.
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import higher

MOMENTS = ("exp_avg", "exp_avg_sq")
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class InnerState(NamedTuple):
    """Parameters, first and second moments (in the order of `Step.names`), and the number of steps taken."""

    params: tuple[Tensor, ...]
    exp_avg: tuple[Tensor, ...]
    exp_avg_sq: tuple[Tensor, ...]
    step: int

    def map(self, change: Callable[[Tensor], Tensor]) -> InnerState:
        """The same state with every tensor changed."""
        params, exp_avg, exp_avg_sq = (tuple(change(t) for t in part) for part in self[:3])
        return InnerState(params, exp_avg, exp_avg_sq, self.step)

    def leaves(self) -> InnerState:
        """A copy that shares memory, cut off from any graph, from which a new graph can grow."""
        return self.map(lambda t: t.detach().requires_grad_())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in one row: parameters, first moments, second moments."""
        return (*self.params, *self.exp_avg, *self.exp_avg_sq)

    def replaced(self, tensors: Sequence[Tensor]) -> InnerState:
        """A state of the same make from another row of tensors."""
        a, b = len(self.params), len(self.params) + len(self.exp_avg)
        return InnerState(tuple(tensors[:a]), tuple(tensors[a:b]), tuple(tensors[b:]), self.step)


class DifferentiableAdamW(higher.optim.DifferentiableOptimizer):
    """torch.optim.AdamW as a graph, with lr and weight decay as tensors (see `metaft.inner.adamw`).

    Parameters without a gradient are left alone, as torch leaves them.
    """

    def _update(self, grouped_grads: list[list[Tensor | None]], **_: Any) -> None:
        for group, own, grads in zip(self.param_groups, self.state, grouped_grads, strict=True):
            live = [i for i, g in enumerate(grads) if g is not None]
            if not live:
                continue
            params = group["params"]
            for i in live:
                own[i] = own[i] or {"step": 0, **{k: torch.zeros_like(params[i]) for k in MOMENTS}}
            t = 1 + int(own[live[0]]["step"])
            new, exp_avg, exp_avg_sq = adamw(
                [params[i] for i in live],
                [g for g in grads if g is not None],
                [own[i]["exp_avg"] for i in live],
                [own[i]["exp_avg_sq"] for i in live],
                group["lr"],
                group["weight_decay"],
                Constants(group["betas"][0], group["betas"][1], group["eps"], t),
            )
            for i, p, m, v in zip(live, new, exp_avg, exp_avg_sq, strict=True):
                params[i], own[i] = p, {"step": t, "exp_avg": m, "exp_avg_sq": v}

    def advance(
        self, state: InnerState, grads: Sequence[Tensor | None], lr: Sequence[Any], wd: Sequence[Any]
    ) -> InnerState:
        """The state after one update by gradients that are known already; `lr` and `wd` are one a group."""
        self._apply_override({"lr": lr, "weight_decay": wd})
        members = [list(enumerate(group)) for group in self._group_to_param_list]
        for group, own, pairs in zip(self.param_groups, self.state, members, strict=True):
            group["params"] = [state.params[j] for _, j in pairs]
            for i, j in pairs:
                own[i] = {"step": state.step, "exp_avg": state.exp_avg[j], "exp_avg_sq": state.exp_avg_sq[j]}
        self._update([[grads[j] for _, j in pairs] for pairs in members])
        params, exp_avg, exp_avg_sq = (list(part) for part in (state.params, state.exp_avg, state.exp_avg_sq))
        for group, own, pairs in zip(self.param_groups, self.state, members, strict=True):
            for i, j in pairs:
                moments = own.pop(i)  # so that no graph outlives its estimate
                params[j], exp_avg[j], exp_avg_sq[j] = group["params"][i], moments["exp_avg"], moments["exp_avg_sq"]
            group["params"] = [None] * len(pairs)
        return InnerState(tuple(params), tuple(exp_avg), tuple(exp_avg_sq), state.step + 1)


higher.register_optim(torch.optim.AdamW, DifferentiableAdamW)


def second_order_attention() -> AbstractContextManager[None]:
    """The attention kernel that has second derivatives; the fused ones have none."""
    return sdpa_kernel(SDPBackend.MATH)


class Step:
    """A function (state, batch, h) -> state: one AdamW step on the weighted loss.

    Modules that theta_0 has in training mode (dropout) are so in a step, not in `forward`; they draw from the batch's
    own seed, so a step can be repeated exactly.

    Args:
        classifier: theta_0; what it marks as trained moves, the rest stays. It is not changed.
        loss: the weighted sum of terms.
        betas, eps: AdamW's constants.
        accumulate: into so many parts a batch is cut; the loss is the mean of theirs, and one part at a time is in
            memory, in the reverse sweep too.
        precision: of the forward pass, `float32` or `bfloat16` (autocast); states stay as they are.

    Raises:
        ConfigError: in the first step, if a module in training mode changes its own buffers as it runs.
    """

    def __init__(
        self,
        classifier: Classifier,
        loss: WeightedLoss,
        betas: tuple[float, float],
        eps: float,
        *,
        accumulate: int = 1,
        precision: str = "float32",
    ) -> None:
        trained = classifier.trained()
        self.names = tuple(trained)
        self.pretrained = {name: p.detach() for name, p in trained.items()}
        self._loss, self._accumulate, self._precision = loss, accumulate, PRECISIONS[precision]
        self._groups = classifier.groups()
        self._model = higher.monkeypatch(classifier, copy_initial_weights=True, track_higher_grads=False)
        self._rest = [p.detach() for p in classifier.parameters()]
        self._slots = [i for i, p in enumerate(classifier.parameters()) if p.requires_grad]
        dead = classifier.dead()
        self._dead = [dead.get(name) for name in self.names]
        self._active = [module for module in self._model.modules() if module.training]
        self._switch(False)
        self._steady = not self._active  # whether running the model is known to change nothing in it
        optimizer = torch.optim.AdamW(
            [{"params": [trained[name] for name in members]} for members in self._groups.values()],
            betas=betas,
            eps=eps,
        )
        self._optimizer = higher.get_diff_optim(optimizer, list(trained.values()))

    def initial(self) -> InnerState:
        """theta_0 and zero moments."""
        params = tuple(p.clone().requires_grad_() for p in self.pretrained.values())
        zeros = tuple(torch.zeros_like(p) for p in params)
        return InnerState(params, zeros, zeros, 0)

    def forward(self, params: Sequence[Tensor], images: Tensor, tokens: Tensor | None = None) -> Outputs:
        """The model's outputs at these parameters, differentiable once unless `second_order_attention` is on."""
        full = list(self._rest)
        for slot, p, dead in zip(self._slots, params, self._dead, strict=True):
            full[slot] = p if dead is None else _without_gradient(p, dead)
        self._model.update_params(full)
        with torch.autocast(images.device.type, self._precision, enabled=self._precision is not None):
            out: Outputs = self._model(images, tokens)
        self._model.update_params(self._rest)  # so that no graph outlives its estimate
        return Outputs(*(None if t is None else t.to(params[0].dtype) for t in out))  # type: ignore[arg-type]

    def loss(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> Tensor:
        """The inner loss [] at these parameters."""
        return self._loss(self._observe(params, batch), h)

    def terms(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> dict[str, Tensor]:
        """The inner loss by term, each with its weight and scale."""
        return self._loss.parts(self._observe(params, batch), h)

    def __call__(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state, differentiable in the state and in h.

        Args:
            h: weights by term, `lr` and `wd`, each a number or a 0-d tensor, and `NAME@GROUP` for a group's own.
        """
        with second_order_attention():
            if self._accumulate == 1:
                return self.advance(state, self._gradient(state.params, batch, h, graph=True), h)
            return self.advance(state, self._recomputed(state.params, batch, h), h)

    def plain(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state, detached, with whatever attention kernel is fastest."""
        grads = self._gradients(tuple(p.detach().requires_grad_() for p in state.params), batch, h)
        with torch.no_grad():
            return self.advance(state, grads, h)

    def dual(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state of dual numbers: forward mode over the gradient, whose own graph is not kept."""
        with second_order_attention():
            return self.advance(state, self._gradients(state.params, batch, h), h)

    def advance(self, state: InnerState, grads: Sequence[Tensor | None], h: Mapping[str, Any]) -> InnerState:
        """AdamW's update alone, by gradients that are known."""
        lr, wd = ([per_group(h, name, group) for group in self._groups] for name in ("lr", "wd"))
        end: InnerState = self._optimizer.advance(state, grads, lr, wd)
        return end

    def _gradient(
        self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any], graph: bool
    ) -> Sequence[Tensor | None]:
        loss = self.loss(params, batch, h)
        return torch.autograd.grad(loss, list(params), create_graph=graph, allow_unused=True)

    def _gradients(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> Sequence[Tensor | None]:
        """The mean gradient over a batch's parts, without a graph."""
        parts = batch.parts(self._accumulate)
        return _mean((share, self._gradient(params, part, h, graph=False)) for share, part in parts)

    def _recomputed(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> list[Tensor | None]:
        """The mean gradient over a batch's parts; each part's graph is built again when it is differentiated."""
        names = [name for name, value in h.items() if isinstance(value, Tensor)]

        def gradient_on(part: TrainBatch) -> tuple[Tensor | None, ...]:
            def gradient(*inputs: Tensor, graph: bool) -> Sequence[Tensor | None]:
                weights = {**h, **dict(zip(names, inputs[len(params) :], strict=True))}
                with second_order_attention():
                    return self._gradient(inputs[: len(params)], part, weights, graph)

            return cast("tuple[Tensor | None, ...]", _Recomputed.apply(gradient, *params, *(h[n] for n in names)))

        return _mean((share, gradient_on(part)) for share, part in batch.parts(self._accumulate))

    def _observe(self, params: Sequence[Tensor], batch: TrainBatch) -> StepState:
        before = None if self._steady else {name: b.clone() for name, b in self._model.named_buffers()}
        with self._randomness(batch) if self._active else nullcontext():
            out = self.forward(params, batch.images, batch.tokens)
        if before is not None:
            self._refuse_changes(before)
        return batch.observe(out, dict(zip(self.names, params, strict=True)), self.pretrained)

    def _refuse_changes(self, before: Mapping[str, Tensor]) -> None:
        """A buffer that changes as the model runs would make a repeated step another one."""
        now = dict(self._model.named_buffers())
        changed = [name for name, buffer in before.items() if not torch.equal(buffer, now[name])]
        if changed:
            found = f"{', '.join(changed)} changes as the model runs in training mode"
            raise ConfigError([Problem("model", found, "training mode for dropout alone")])
        self._steady = True

    @contextmanager
    def _randomness(self, batch: TrainBatch) -> Iterator[None]:
        """Training mode where theta_0 has it, on randomness that is a function of the batch's seed alone."""
        if batch.seed is None:
            raise ValueError("batch.seed: missing; allowed: a whole number, as the model has parts in training mode")
        device = batch.images.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(batch.seed)
            self._switch(True)
            try:
                yield
            finally:
                self._switch(False)

    def _switch(self, training: bool) -> None:
        for module in self._active:
            module.training = training


def _mean(parts: Iterable[tuple[float, Sequence[Tensor | None]]]) -> list[Tensor | None]:
    """The sum of gradients, each times its share."""
    total: list[Tensor | None] | None = None
    for share, grads in parts:
        scaled = [g if g is None or share == 1 else share * g for g in grads]
        total = scaled if total is None else [_sum(t, g) for t, g in zip(total, scaled, strict=True)]
    assert total is not None
    return total


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


class _Recomputed(torch.autograd.Function):
    """gradient(*inputs), without a graph; its own derivative builds one, uses it and drops it."""

    @staticmethod
    def forward(ctx: Any, gradient: Callable[..., Sequence[Tensor | None]], *inputs: Tensor) -> Any:
        ctx.gradient = gradient
        ctx.save_for_backward(*inputs)
        with torch.enable_grad():
            return gradient(*(x.detach().requires_grad_() for x in inputs), graph=False)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            pairs = zip(ctx.gradient(*leaves, graph=True), adjoints, strict=True)
            live = [(g, a) for g, a in pairs if g is not None and a is not None and g.requires_grad]
            pulled = torch.autograd.grad([g for g, _ in live], leaves, [a for _, a in live], allow_unused=True)
        return None, *pulled


def _without_gradient(p: Tensor, part: slice) -> Tensor:
    return torch.cat([p[: part.start], p[part].detach(), p[part.stop :]])
