"""One inner step: AdamW on higher's patched model, with explicit state in and out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metaft.apart import apart
from metaft.clip.classifier import Classifier, Outputs, grouped, picked_parameters
from metaft.clip.precision import AUTOCAST
from metaft.config.schema import StepConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.hook import PLAIN, Hook
from metaft.inner.attention import second_order_attention
from metaft.inner.dropout import Dropout
from metaft.inner.loop import Part
from metaft.inner.optimizer import AdamWOnStates
from metaft.inner.parts import mean, recomputed
from metaft.inner.second_order import second_order_kernels
from metaft.inner.state import InnerState
from metaft.names import ALPHA, Name, value_for
from metaft.objective.registry import compare_images
from metaft.objective.state import StepState
from metaft.objective.weighted import WeightedLoss
from metaft.shards import Whole
from metaft.tensors import with_zeros, without_gradient
from metaft.training.batches import TrainBatch

with warnings.catch_warnings():
    # higher 0.2.1, compiled by a Python newer than itself: `is` with a literal, and a stray backslash.
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import higher


HEAD = ("head.weight", "head.bias")


class DifferentiableAdamW(AdamWOnStates, higher.optim.DifferentiableOptimizer):
    """torch.optim.AdamW as higher's differentiable optimizer."""


higher.register_optim(torch.optim.AdamW, DifferentiableAdamW)


class Step:
    """A function (state, batch, h) -> state: one AdamW step on the weighted loss.

    Modules that are in training mode in theta_0 (dropout) are so in a step, but not in `forward`; they draw from the
    batch's seed, so a step can be repeated exactly.

    Args:
        classifier: theta_0. It is not changed.
        trained: the names of the parameters that move; the others stay.
        loss: the weighted sum of terms.
        settings: AdamW's constants; the parts of a batch (the loss is the mean of theirs, and one at a time is in
            memory, in the reverse sweep too); the precision of the forward pass (not of states).
        hook: what a method changes in a step.
        knobs: the hook's, each overridden by METHOD.KNOB in h.

    Raises:
        ConfigError: in the first step, if a module in training mode changes its buffers as it runs.
    """

    def __init__(
        self,
        classifier: Classifier,
        trained: Sequence[str],
        loss: WeightedLoss,
        settings: StepConfig,
        hook: Hook = PLAIN,
        knobs: Mapping[str, Any] | None = None,
    ) -> None:
        self._hook, self._knobs, self.layout = hook, dict(knobs or {}), self._laid_out(classifier)
        self.pretrained = self.layout.held(picked_parameters(classifier, trained))
        variables = self._variables()
        self.names, self._anchors = tuple(variables), [v.detach() for v in variables.values()]
        self.settings, self._loss, self.accumulate = settings, loss.over(self.layout), settings.accumulate
        self._precision, self._dead = AUTOCAST.get(settings.precision), classifier.dead()
        self._model = self._patched(classifier, settings)
        self._given = self.layout.held(self._handed(classifier))
        self._head: tuple[Tensor, ...] | None = None  # of theta_0, where it is another than the classifier's
        self._dropout = Dropout(self._model)
        self._apart = False  # whether terms on a batch are known not to look at parameters
        self._groups = grouped(variables)
        params = [{"params": [variables[name] for name in members]} for members in self._groups.values()]
        optimizer = torch.optim.AdamW(params, betas=settings.betas, eps=settings.eps)
        self._optimizer = higher.get_diff_optim(optimizer, list(variables.values()))

    def _laid_out(self, classifier: Classifier) -> Whole:
        """How a state holds the tensors of a model."""
        return Whole()

    def _patched(self, classifier: Classifier, settings: StepConfig) -> Any:
        """The model that runs on what a step holds."""
        return higher.monkeypatch(classifier, copy_initial_weights=True, track_higher_grads=False)

    def _handed(self, classifier: Classifier) -> dict[str, Tensor]:
        """What of theta_0 the model is given by name each time, where it does not move."""
        return dict(classifier.named_parameters())

    def in_parts(self, count: int) -> Step:
        """The same step with batches cut into so many parts; the model is shared."""
        other = copy.copy(self)
        other.accumulate = count
        return other

    def divisible(self, h: Mapping[str, Any]) -> bool:
        """Whether the loss is the mean of those on a batch's parts: none compares images, and nothing is drawn."""
        return not compare_images(h) and not self._dropout.draws

    def begun_at(self, values: Mapping[str, Tensor]) -> Step:
        """The same step from a theta_0 with another head, by name (of none: this one); the model is shared."""
        if not values:
            return self
        other, held = copy.copy(self), self.layout.held(values)
        other.pretrained = {name: held.get(name, p) for name, p in self.pretrained.items()}
        other._given = {**self._given, **held}
        other._head = tuple(self.layout.whole({name: other._given[name] for name in HEAD}).values())
        other._anchors = [v.detach() for v in other._variables().values()]
        return other

    def _variables(self) -> Mapping[str, Tensor]:
        return self._hook.variables(self.pretrained, torch.Generator().manual_seed(0))

    def initial(self) -> InnerState:
        """The hook's variables (theta_0, where it has no others), zero moments and the hook's first state."""
        params = tuple(p.clone().requires_grad_() for p in self._anchors)
        zeros = tuple(torch.zeros_like(p) for p in params)
        return InnerState(params, zeros, zeros, 0, self._hook.initial(self._anchors))

    def result(self, state: InnerState) -> tuple[Tensor, ...]:
        """The values of the variables at which a state is judged, as the hook gives them."""
        return tuple(self._hook.result(state.params, state.extra))

    def forward(self, params: Sequence[Tensor], images: Tensor, tokens: Tensor | None = None) -> Outputs:
        """The model's outputs at these parameters, differentiable once unless `second_order_attention` is on."""
        return self._at(self._parameters(params), images, tokens)

    def _parameters(self, params: Sequence[Tensor]) -> Mapping[str, Tensor]:
        return self._hook.parameters(dict(zip(self.names, params, strict=True)), self.pretrained)

    def _at(self, params: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        return Outputs(*apart(self._alone, params, images, tokens))  # type: ignore[arg-type]

    def _alone(self, params: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> list[Tensor | None]:
        """The model's outputs on these images, by this process."""
        with torch.autocast(images.device.type, self._precision, enabled=self._precision is not None):
            out = self._computed(params, images, tokens)
        return [None if t is None else t.to(next(iter(params.values()))) for t in out]

    def _computed(self, params: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The model's outputs in the precision of a forward pass."""
        self._model.update_params(list({**self._given, **self._live(params)}.values()))
        out: Outputs = self._model(images, tokens)
        self._model.update_params(list(self._given.values()))  # so that no graph outlives its estimate
        return out

    def _live(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters, of which no derivative reaches what is dead."""
        return {n: without_gradient(p, self._dead[n]) if n in self._dead else p for n, p in params.items()}

    def loss(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> Tensor:
        """The inner loss [] at these parameters."""
        return self._loss(self._observe(params, batch), h)

    def terms(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> dict[str, Tensor]:
        """The inner loss by term, each with its weight and scale."""
        return self._loss.parts(self._observe(params, batch), h)

    def __call__(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state, differentiable in the state and in h.

        Args:
            h: weights by term, `lr` and `wd`, each a number or a 0-d tensor, and `NAME@GROUP` for a group's own. The
                learning rates are multiplied by the batch's pace. After the last batch the variables are moved
                to anchors + alpha (variables - anchors), where h holds `alpha`.
        """
        with second_order_attention():
            gradient = partial(self._gradient, graph=True) if self.accumulate == 1 else self._recomputed
            return self.taken(state, gradient(state.params, batch, h), batch, h)

    def plain(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state, detached, with whatever attention kernel is fastest."""
        grads = self.gradients(tuple(p.detach().requires_grad_() for p in state.params), batch, h)
        with torch.no_grad():
            return self.taken(state, grads, batch, h)

    def dual(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> InnerState:
        """The next state of dual numbers: forward mode over the gradient, whose own graph is not kept."""
        with second_order_attention():
            grads = self.gradients(state.params, batch, h)
            return self.taken(state, grads, batch, h)

    @property
    def precision(self) -> float:
        """The relative precision of a forward pass."""
        return torch.finfo(self._precision or self._anchors[0].dtype).eps

    @property
    def precise(self) -> Step:
        """The step whose forward pass has the precision of its parameters."""
        other = self if self._precision is None else copy.copy(self)
        other._precision = None
        return other

    def parts(self, batch: TrainBatch) -> list[Part]:
        """The parts of a batch that are in memory one after the other; terms on it see the model's outputs alone."""
        cut = batch.parts(self.accumulate)
        return [Part(share, partial(self._outputs, part), partial(self._loss_of, part)) for share, part in cut]

    def _outputs(self, batch: TrainBatch, params: Sequence[Tensor]) -> list[Tensor]:
        return [t for t in self._run(self._parameters(params), batch) if t is not None]

    def _loss_of(self, batch: TrainBatch, outputs: Sequence[Tensor], h: Mapping[str, Any]) -> Tensor:
        """The terms on a batch.

        Raises:
            ConfigError: one of them looks at parameters too.
        """
        logits, features, *text, scale = outputs
        out = Outputs(logits, features, text[0] if text else None, scale)
        params = {name: p.detach().requires_grad_(not self._apart) for name, p in self.pretrained.items()}
        loss = self._loss.of_batch(self._seen(batch, out, params), h)
        if not self._apart and loss.requires_grad:
            found = torch.autograd.grad(loss, list(params.values()), retain_graph=True, allow_unused=True)
            if any(g is not None for g in found):
                mixed = "'differences', with a term that looks at images and at parameters"
                raise ConfigError([Fault("hypergrad.estimator", mixed, "unroll, or a term of each kind")])
            self._apart = True
        return loss

    def moved(
        self, state: InnerState, grads: Sequence[Tensor | None], batch: TrainBatch, h: Mapping[str, Any]
    ) -> InnerState:
        """The next state from the gradients of the losses on a batch, to which those of penalties are added here.

        Differentiable in the state, the gradients and h, and done without the model.
        """
        pairs = zip(grads, self._pulls(state.params, h), strict=True)
        total = [g if pull is None else pull if g is None else g + pull for g, pull in pairs]
        return self.taken(state, total, batch, h)

    def _pulls(self, params: Sequence[Tensor], h: Mapping[str, Any]) -> Sequence[Tensor | None]:
        """The gradients of the penalties, differentiable where a graph is asked for."""
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            variables = list(params) if differentiable else [p.detach().requires_grad_() for p in params]
            seen = StepState.without_images(dict(self._parameters(variables)), self.pretrained)
            penalty = self._loss.of_parameters(seen, h)
            if not penalty.requires_grad:
                return [None] * len(variables)
            return torch.autograd.grad(penalty, variables, create_graph=differentiable, allow_unused=True)

    def taken(
        self, state: InnerState, grads: Sequence[Tensor | None], batch: TrainBatch, h: Mapping[str, Any]
    ) -> InnerState:
        """The state after a batch with these gradients of the whole loss; after the last one, `alpha` of the way on."""
        end = self._updated(state, grads, batch.paced(h))
        return self.mixed(end, h[ALPHA]) if batch.last and ALPHA in h else end

    def _updated(self, state: InnerState, grads: Sequence[Tensor | None], h: Mapping[str, Any]) -> InnerState:
        """AdamW's update by the given gradients, and what the hook does around it."""
        lr, wd = ([value_for(h, base, group) for group in self._groups] for base in ("lr", "wd"))
        searched = ((Name.parse(key), value) for key, value in h.items())
        knobs = {**self._knobs, **{name.base: value for name, value in searched if name.is_knob}}
        changed, extra = self._hook.before(
            with_zeros(grads, state.params), state.params, self._anchors, state.extra, knobs
        )
        live = [c if g is not None else None for c, g in zip(changed, grads, strict=True)]
        end: InnerState = self._optimizer.advance(state, live, lr, wd)
        params, extra = self._hook.after(end.params, self._anchors, extra, knobs)
        return replace(end, params=tuple(params), extra=extra)

    def mixed(self, state: InnerState, alpha: Any) -> InnerState:
        """The state with its variables at anchors + alpha (variables - anchors)."""
        if isinstance(alpha, Tensor):
            alpha = alpha.to(self._anchors[0].dtype)  # a parameter without dimensions would take on that of alpha
        ends = zip(self._anchors, state.params, strict=True)
        return replace(state, params=tuple(a + alpha * (p - a) for a, p in ends))

    def _gradient(
        self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any], graph: bool
    ) -> Sequence[Tensor | None]:
        with second_order_kernels() if graph else nullcontext():
            loss = self.loss(params, batch, h)
        return torch.autograd.grad(loss, list(params), create_graph=graph, allow_unused=True)

    def gradients(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> Sequence[Tensor | None]:
        """The mean gradient of the loss over a batch's parts, without a graph; None where there is none."""
        parts = batch.parts(self.accumulate)
        return mean((share, self._gradient(params, part, h, graph=False)) for share, part in parts)

    def _recomputed(self, params: Sequence[Tensor], batch: TrainBatch, h: Mapping[str, Any]) -> list[Tensor | None]:
        """The mean gradient over a batch's parts; each part's graph is built again when it is differentiated."""
        gradient = second_order_attention()(self._gradient)
        return mean((share, recomputed(gradient, params, part, h)) for share, part in batch.parts(self.accumulate))

    def _observe(self, params: Sequence[Tensor], batch: TrainBatch) -> StepState:
        parameters = self._parameters(params)
        return self._seen(batch, self._run(parameters, batch), parameters)

    def _seen(self, batch: TrainBatch, out: Outputs, parameters: Mapping[str, Tensor]) -> StepState:
        batch = batch if self._head is None else batch.with_head(self._head[0], self._head[1])
        return batch.observe(out, dict(parameters), self.pretrained)

    def _run(self, parameters: Mapping[str, Tensor], batch: TrainBatch) -> Outputs:
        """The model's outputs on a batch, in training mode where theta_0 has it."""
        with self._dropout.drawn(batch):
            return self._at(parameters, batch.all_images, batch.tokens)
