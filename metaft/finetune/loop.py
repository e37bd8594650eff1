"""The training loop: AdamW with warm-up and cosine on an objective; the best check by ID validation."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from metaft.clip.classifier import Classifier, grouped, train_only
from metaft.data.types import SearchData
from metaft.errors import CheckpointError, DivergedError
from metaft.finetune.settings import Cost, FitSettings, Steer
from metaft.finetune.validation import accuracy_on
from metaft.hooks import PLAIN, Hook, hook_for
from metaft.inner import InnerState
from metaft.objective import Objective, WeightedLoss, per_group
from metaft.objective.batches import DrawnBatches, Reference, TrainBatches
from metaft.objective.schedule import warmup_cosine
from metaft.objective.vectors import whole
from metaft.progress import bar

RUNAWAY = 1e3
MakeHook = Callable[[Classifier, Sequence[str]], tuple[Hook, Mapping[str, Any]]]


def train(
    classifier: Classifier,
    objective: Objective,
    data: SearchData,
    settings: FitSettings,
    name: str,
    *,
    hook: MakeHook | None = None,
    finish: Callable[[Classifier], Classifier] = lambda model: model,
    steer: Steer | None = None,
    theta_0: Classifier | None = None,
) -> Classifier:
    """Fine-tune a copy of the classifier on an objective.

    The model stays in evaluation mode, so that batch norm keeps its statistics and the loss is the one searched. The
    state is kept at every check, and a training that finds its own goes on from there, to the same end.

    Args:
        name: of the method, for the log and the keeper.
        hook: makes the hook of every step and its knobs from the model and the names of its trained parameters, in the
            place of the one that the objective names.
        finish: what is done to a model before it is looked at.
        steer: asked before each step for an objective to go on with; without one the objective's schedule is followed.
        theta_0: whose outputs the terms that keep to theta_0's are given; without one, the classifier's.

    Raises:
        DivergedError: the loss stopped being finite or ran away.
        CheckpointError: the keeper has the state of another training under this name.
    """
    batches = _batches(theta_0 or classifier, objective, data, settings)
    training = _Training(classifier, objective, data, batches, settings, name, hook, finish, steer or follow(objective))
    training.take_up()
    steps, checks = settings.steps, settings.checks
    with bar(name, total=steps, initial=training.step) as progress:
        while training.step < steps:
            loss = training.advance()
            progress.update()
            if training.step * checks // steps > (training.step - 1) * checks // steps:
                score = training.check()
                settings.log({"method": name, "step": training.step, "loss": loss, "id_val_accuracy": score})
                training.keep()
                progress.set_postfix_str(f"loss {loss:.3f}, best id_val {training.score:.1%}")
    return training.best()


def train_with_hook(classifier: Classifier, data: SearchData, settings: FitSettings, method: str) -> Classifier:
    """Fine-tune on the plain objective with the registered hook of a method."""
    return train(classifier, replace(settings.plain, method=method), data, settings, method)


class _Training:
    """A training at work; its whole state is what `keep` writes."""

    def __init__(
        self,
        classifier: Classifier,
        objective: Objective,
        data: SearchData,
        batches: DrawnBatches,
        settings: FitSettings,
        name: str,
        hook: MakeHook | None,
        finish: Callable[[Classifier], Classifier],
        steer: Steer,
    ) -> None:
        self._model = train_only(copy.deepcopy(classifier), text=objective.needs_text, freeze=settings.freeze)
        self._pretrained = {k: p.detach() for k, p in self._model.trained().items()}
        names = list(self._pretrained)
        self._hook, self._knobs = hook(self._model, names) if hook else hook_of(objective, names, settings)
        variables = self._hook.variables(self._pretrained, torch.Generator().manual_seed(settings.seed))
        self._anchors = [v.detach() for v in variables.values()]
        self._variables = {k: v.detach().clone().requires_grad_() for k, v in variables.items()}
        self._steer, self._objective, self._values = steer, objective, objective.values()
        self._optimizer = adamw(self._variables, self._values, settings.betas, settings.eps)
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._loss = WeightedLoss(
            self._model.groups(), sum(p.numel() for p in self._pretrained.values()), settings.penalty_scale
        )
        self._extra = self._hook.initial(self._anchors)
        self._batches = batches
        self._data, self._settings, self._name, self._finish = data, settings, name, finish
        self._identity = {
            **asdict(objective),
            "steps": settings.steps,
            "seed": settings.seed,
            "images": len(data.id_train),
        }
        self._limit, self._start = math.inf, time.perf_counter()
        self._best: dict[str, Tensor] = {}
        self._before = copy.copy(settings.cost)
        self.step, self.score = 0, -1.0

    def advance(self) -> float:
        """One step; its loss."""
        self._use(self._steer(self.step, self._settings.steps, self._state))
        batch, before = self._batches[self.step], self.step
        parameters = dict(self._hook.parameters(self._variables, self._pretrained))
        out = functional_call(self._model, parameters, (batch.images, batch.tokens))
        loss = self._loss(batch.observe(out, parameters, self._pretrained), self._values)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._update(warmup_cosine(before, self._settings.steps, self._settings.warmup))
        self.step += 1
        self._settings.cost.step_equivalents += len(batch.labels) / self._settings.batch_size
        return self._sound(loss.item())

    def _use(self, objective: Objective) -> None:
        """Go on with an objective."""
        if objective == self._objective:
            return
        self._objective, self._values = objective, objective.values()
        groups = parameter_groups(self._variables, self._values)
        for group, own in zip(self._optimizer.param_groups, groups, strict=True):
            group["weight_decay"] = own["weight_decay"]
        self._peaks = [own["lr"] for own in groups]

    def _state(self) -> InnerState:
        """The state as the inner loop has it."""
        found = [self._optimizer.state.get(v, {}) for v in self._variables.values()]
        params = [v.detach() for v in self._variables.values()]
        m, v = (
            tuple(own.get(key, torch.zeros_like(p)) for own, p in zip(found, params, strict=True))
            for key in ("exp_avg", "exp_avg_sq")
        )
        return InnerState(tuple(params), m, v, self.step, tuple(self._extra)).map(torch.clone)

    @torch.no_grad()
    def _update(self, factor: float) -> None:
        """The optimizer's step at a share of the peak learning rate, and what the hook does around it."""
        variables = list(self._variables.values())
        grads = [v.grad for v in variables]
        changed, extra = self._hook.before(whole(grads, variables), variables, self._anchors, self._extra, self._knobs)
        for v, grad, own in zip(variables, grads, changed, strict=True):
            v.grad = None if grad is None else own
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self._optimizer.step()
        replaced, self._extra = self._hook.after(variables, self._anchors, extra, self._knobs)
        if replaced is not variables:
            torch._foreach_copy_(variables, list(replaced))

    def _sound(self, loss: float) -> float:
        """The loss, if it is finite and not RUNAWAY times its first value (or 1, if that is more)."""
        if self.step == 1:
            self._limit = RUNAWAY * max(1.0, abs(loss))
        if not math.isfinite(loss) or abs(loss) > self._limit:
            raise DivergedError(
                f"{self._name}: diverged in step {self.step} of {self._settings.steps} (loss {loss:.3g})"
            )
        return loss

    @torch.no_grad()
    def _current(self) -> Classifier:
        """The model as it stands, merged and finished."""
        model = copy.deepcopy(self._model)
        values = self._hook.result(list(self._variables.values()), self._extra)
        parameters = self._hook.parameters(dict(zip(self._variables, values, strict=True)), self._pretrained)
        own = model.trained()
        for name, value in parameters.items():
            own[name].copy_(value)
        return self._finish(model)

    def check(self) -> float:
        """Accuracy on id_val; the model is kept if it is the best yet."""
        model = self._current()
        score = accuracy_on(self._data.id_val, model, self._settings)
        if score > self.score:
            self.score, self._best = score, model.state_dict()
        return score

    def best(self) -> Classifier:
        """The model with the best parameters."""
        if not all(bool(t.isfinite().all()) for t in self._best.values()):
            raise DivergedError(f"{self._name}: diverged (its parameters are no longer finite)")
        self._model.load_state_dict(self._best)
        return self._model

    def keep(self) -> None:
        """Hand the whole state to the keeper."""
        cost, before = self._settings.cost, self._before
        self._settings.keeper.save(
            self._name,
            {
                "training": self._identity,
                "step": self.step,
                "variables": {k: v.detach() for k, v in self._variables.items()},
                "optimizer": self._optimizer.state_dict(),
                "extra": list(self._extra),
                "limit": self._limit,
                "score": self.score,
                "best": self._best,
                "step_equivalents": cost.step_equivalents - before.step_equivalents,
                "seconds": cost.seconds - before.seconds + time.perf_counter() - self._start,
            },
        )

    def take_up(self) -> None:
        """Go on from the state that the keeper has, if it has one."""
        state = self._settings.keeper.load(self._name)
        if state is None:
            return
        if state["training"] != self._identity:
            odd = ", ".join(k for k in self._identity if state["training"].get(k) != self._identity[k])
            raise CheckpointError(f"{self._name}: the training kept under this name differs in {odd}; allowed: its own")
        with torch.no_grad():
            for name, value in self._variables.items():
                value.copy_(state["variables"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._extra = tuple(t.to(like.device) for t, like in zip(state["extra"], self._extra, strict=True))
        self.step, self._limit, self.score, self._best = (state[k] for k in ("step", "limit", "score", "best"))
        self._settings.cost.add(Cost(state["step_equivalents"], state["seconds"]))


def follow(objective: Objective) -> Steer:
    """What an objective says of each step: itself, or what its schedule puts in its place."""
    return lambda step, steps, state: objective.at(step / steps)


def hook_of(objective: Objective, names: Sequence[str], settings: FitSettings) -> tuple[Hook, Mapping[str, Any]]:
    """The hook that an objective names, for trained parameters of these names, and its knobs."""
    if objective.method is None:
        return PLAIN, {}
    set_here = settings.options.knobs.get(objective.method, {})
    knobs = {**settings.options.knobs, objective.method: {**set_here, **objective.knobs}}
    return hook_for(objective.method, names, replace(settings.options, knobs=knobs))


def _batches(classifier: Classifier, objective: Objective, data: SearchData, settings: FitSettings) -> DrawnBatches:
    tokens = settings.tokens if objective.needs_text else None
    batches = TrainBatches(
        data.id_train, tokens, Reference(classifier, data.id_train, settings.device), settings.device
    )
    return batches.drawn(settings.steps, settings.batch_size, torch.Generator().manual_seed(settings.seed))


def adamw(
    variables: Mapping[str, Tensor], values: Mapping[str, Any], betas: tuple[float, float], eps: float
) -> torch.optim.AdamW:
    """torch's AdamW over the variables, each group with its own lr and weight decay from `values`."""
    return torch.optim.AdamW(parameter_groups(variables, values), betas=betas, eps=eps)


def parameter_groups(variables: Mapping[str, Tensor], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables of each group with its lr and weight decay, as torch's optimizers take them."""
    return [
        {
            "params": [variables[name] for name in members],
            "lr": per_group(values, "lr", group),
            "weight_decay": per_group(values, "wd", group),
        }
        for group, members in grouped(variables).items()
    ]
