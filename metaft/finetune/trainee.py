"""A model in training: its variables, optimizer and hook, and one step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from metaft.apart import apart
from metaft.clip.classifier import Classifier, Outputs, grouped, holding, picked_parameters, trainable
from metaft.config.schema import AdamWConfig
from metaft.finetune.context import FitSettings
from metaft.hooks.hook import PLAIN, Hook, State
from metaft.hooks.registry import hook_for
from metaft.inner.state import InnerState
from metaft.names import value_for
from metaft.objective.objective import Objective
from metaft.objective.weighted import WeightedLoss
from metaft.tensors import with_zeros
from metaft.training.batches import TrainBatch

MakeHook = Callable[[Classifier, Sequence[str]], tuple[Hook, Mapping[str, Any]]]


@dataclass
class Trainee:
    """A copy of a classifier, fine-tuned step by step on an objective.

    The model stays in evaluation mode, so that batch norm keeps its statistics and the loss is the one searched.

    Args:
        model: the copy; `current` writes the trained parameters into another one.
        pretrained: its trained parameters as they began, by name.
        hook, knobs: what a method changes in a step.
        variables: what the optimizer moves, by name; `anchors` are their first values.
        optimizer: torch's AdamW, with a group for each parameter group.
        loss: the weighted sum of terms.
        objective: what the current step descends.
        extra: the hook's state.
        step: the number of steps done.
    """

    model: Classifier
    pretrained: dict[str, Tensor]
    hook: Hook
    knobs: Mapping[str, Any]
    variables: dict[str, Tensor]
    anchors: list[Tensor]
    optimizer: torch.optim.AdamW
    loss: WeightedLoss
    objective: Objective
    extra: State
    step: int = 0

    @classmethod
    def begin(
        cls, classifier: Classifier, objective: Objective, settings: FitSettings, make_hook: MakeHook | None
    ) -> Trainee:
        """A trainee at the classifier's parameters, with the given hook or the one that the objective names."""
        model = copy.deepcopy(classifier)
        names = trainable(model, text=objective.needs_text, freeze=settings.freeze)
        pretrained = {name: p.detach() for name, p in picked_parameters(model, names).items()}
        hook, knobs = make_hook(model, names) if make_hook else hook_of(objective, names, settings)
        first = hook.variables(pretrained, torch.Generator().manual_seed(settings.seed))
        anchors = [v.detach() for v in first.values()]
        variables = {name: v.detach().clone().requires_grad_() for name, v in first.items()}
        optimizer = adamw(variables, objective.values(), settings.optimizer)
        count = sum(p.numel() for p in pretrained.values())
        loss = WeightedLoss(grouped(names), count, settings.penalty_scale)
        extra = hook.initial(anchors)
        return cls(model, pretrained, hook, knobs, variables, anchors, optimizer, loss, objective, extra)

    def advance(self, batch: TrainBatch, objective: Objective, pace: float) -> float:
        """Take one step on an objective, at `pace` times its learning rates; gives the loss before it."""
        self.objective = objective
        parameters = dict(self.hook.parameters(self.variables, self.pretrained))
        out = Outputs(*apart(self._alone, parameters, batch.all_images, batch.tokens))  # type: ignore[arg-type]
        loss = self.loss(batch.observe(out, parameters, self.pretrained), objective.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._update(pace)
        self.step += 1
        return loss.item()

    def _alone(self, parameters: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The model's outputs on these images, by this process."""
        out: Outputs = functional_call(self.model, dict(parameters), (images, tokens))
        return out

    @torch.no_grad()
    def _update(self, pace: float) -> None:
        """The optimizer's step, and what the hook does around it."""
        variables = list(self.variables.values())
        grads = [v.grad for v in variables]
        changed, extra = self.hook.before(with_zeros(grads, variables), variables, self.anchors, self.extra, self.knobs)
        for v, grad, replacement in zip(variables, grads, changed, strict=True):
            v.grad = None if grad is None else replacement
        settings = parameter_groups(self.variables, self.objective.values())
        for group, setting in zip(self.optimizer.param_groups, settings, strict=True):
            group["lr"], group["weight_decay"] = pace * setting["lr"], setting["weight_decay"]
        self.optimizer.step()
        replaced, self.extra = self.hook.after(variables, self.anchors, extra, self.knobs)
        if replaced is not variables:
            torch._foreach_copy_(variables, list(replaced))

    @torch.no_grad()
    def current(self) -> Classifier:
        """The model with copies of the parameters that the hook gives to be evaluated, after the last step."""
        values = self.hook.result(list(self.variables.values()), self.extra)
        parameters = self.hook.parameters(dict(zip(self.variables, values, strict=True)), self.pretrained)
        return holding(self.model, {name: p.clone() for name, p in parameters.items()})

    def inner_state(self) -> InnerState:
        """A copy of the state in the inner loop's form."""
        params = [v.detach() for v in self.variables.values()]
        moments = [self.optimizer.state.get(v, {}) for v in self.variables.values()]
        m, v = (
            tuple(moment.get(key, torch.zeros_like(p)) for moment, p in zip(moments, params, strict=True))
            for key in ("exp_avg", "exp_avg_sq")
        )
        return InnerState(tuple(params), m, v, self.step, tuple(self.extra)).map(torch.clone)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume from here: tensors and plain values."""
        return {
            "step": self.step,
            "variables": {name: v.detach() for name, v in self.variables.items()},
            "optimizer": self.optimizer.state_dict(),
            "extra": list(self.extra),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        with torch.no_grad():
            for name, v in self.variables.items():
                v.copy_(state["variables"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.extra = tuple(t.to(like.device) for t, like in zip(state["extra"], self.extra, strict=True))
        self.step = state["step"]


def hook_of(objective: Objective, names: Sequence[str], settings: FitSettings) -> tuple[Hook, Mapping[str, Any]]:
    """The hook that an objective names, for trained parameters of these names, and its knobs."""
    method, finetune = objective.method, settings.finetune
    if method is None:
        return PLAIN, {}
    knobs = {**finetune.knobs, method: {**finetune.knobs.get(method, {}), **objective.knobs}}
    return hook_for(method, names, finetune.model_copy(update={"knobs": knobs}))


def adamw(variables: Mapping[str, Tensor], values: Mapping[str, Any], constants: AdamWConfig) -> torch.optim.AdamW:
    """torch's AdamW over the variables, each group with its lr and weight decay from `values`."""
    return torch.optim.AdamW(parameter_groups(variables, values), betas=constants.betas, eps=constants.eps)


def parameter_groups(variables: Mapping[str, Tensor], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables of each group with its lr and weight decay, as torch's optimizers take them."""
    return [
        {
            "params": [variables[name] for name in members],
            "lr": value_for(values, "lr", group),
            "weight_decay": value_for(values, "wd", group),
        }
        for group, members in grouped(variables).items()
    ]
