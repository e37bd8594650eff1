"""A model in training: its variables, optimizer and hook, and one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from metaft import ranks
from metaft.apart import apart
from metaft.clip.blockwise import Blockwise
from metaft.clip.classifier import Classifier, Outputs, grouped, holding, picked_parameters, trainable
from metaft.clip.precision import matmuls
from metaft.clip.running import Running
from metaft.config.schema import ComputeConfig
from metaft.data.rows import WHOLE, Share
from metaft.errors import ConfigError
from metaft.finetune.context import FitSettings
from metaft.finetune.gathered import cut, joined, pull, pulls
from metaft.finetune.optimizers import MakeOptimizer, adamw, parameter_groups
from metaft.finetune.own import Own, Seen
from metaft.finetune.scaling import Scale
from metaft.hooks.hook import PLAIN, Hook, State
from metaft.hooks.registry import hook_for
from metaft.inner.state import InnerState
from metaft.objective.objective import Objective
from metaft.objective.weighted import WeightedLoss
from metaft.shards import Shards, Whole, refusal, sharded
from metaft.tensors import Tensors, with_zeros
from metaft.training.batches import TrainBatch

MakeHook = Callable[[Classifier, Sequence[str]], tuple[Hook, Mapping[str, Any]]]


@dataclass
class Trainee:
    """A classifier that is fine-tuned step by step on an objective.

    Its model stays in evaluation mode, so that batch norm keeps its statistics and the loss is the one searched.

    Args:
        classifier: theta_0, which is not changed; what does not train is shared with it.
        layout: how tensors that are alike parameters are held; all below are.
        running: the model that runs on what trains.
        how: how a step is computed; `scale` is the factor of its loss.
        pretrained: the trained parameters as they began, by name.
        hook, knobs: what a method changes in a step.
        variables: what the optimizer moves, by name; `anchors` are their first values.
        optimizer: torch's AdamW, or another of torch's, with a group for each parameter group.
        loss: the weighted sum of terms.
        objective: what the current step descends.
        extra: the hook's state.
        own: a term of the method's own, which is added to the loss.
        step: the number of steps done.
    """

    classifier: Classifier
    layout: Whole
    running: Running
    how: ComputeConfig
    scale: Scale
    pretrained: dict[str, Tensor]
    hook: Hook
    knobs: Mapping[str, Any]
    variables: dict[str, Tensor]
    anchors: list[Tensor]
    optimizer: torch.optim.Optimizer
    loss: WeightedLoss
    objective: Objective
    extra: State
    own: Own | None = None
    step: int = 0

    @classmethod
    def begin(
        cls,
        classifier: Classifier,
        objective: Objective,
        settings: FitSettings,
        make_hook: MakeHook | None,
        make_optimizer: MakeOptimizer = adamw,
        own: Own | None = None,
    ) -> Trainee:
        """A trainee at the classifier's parameters, with the given hook or the one that the objective names.

        Raises:
            ConfigError: it is to be held in shards, and the hook needs whole tensors.
        """
        how, names = settings.finetune, trainable(classifier, text=objective.needs_text, freeze=settings.freeze)
        whole = picked_parameters(classifier, names)
        hook, knobs = make_hook(classifier, names) if make_hook else hook_of(objective, names, settings)
        layout, running = _laid_out(classifier, whole, how, hook)
        pretrained = layout.held(whole)
        first = hook.variables(pretrained, torch.Generator().manual_seed(settings.seed))
        anchors = [v.detach() for v in first.values()]
        variables = {name: v.detach().clone().requires_grad_() for name, v in first.items()}
        optimizer = make_optimizer(variables, objective.values(), settings.optimizer, how.precision)
        count = sum(p.numel() for p in whole.values())
        return cls(
            classifier,
            layout,
            running,
            how,
            Scale.of(how.precision),
            pretrained,
            hook,
            knobs,
            variables,
            anchors,
            optimizer,
            WeightedLoss(grouped(names), count, settings.penalty_scale).over(layout),
            objective,
            hook.initial(anchors),
            own,
        )

    def advance(self, batch: TrainBatch, objective: Objective, pace: float) -> float:
        """Take one step on an objective, at `pace` times its learning rates; gives the loss before it."""
        self.objective = objective
        with matmuls(self.how.precision):
            loss = self._descended(batch)
        self._update(pace)
        self.step += 1
        return loss

    @property
    def share(self) -> Share:
        """Who reads the images of its own rows alone: this rank, where a step looks at no others of a whole batch."""
        return ranks.share() if self.own is None and self.how.accumulate == 1 else WHOLE

    def outputs(self, parameters: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The model's outputs at parameters by name: the forward pass of every step."""
        found = apart(self.running, parameters, images, tokens, sharded=self.layout.sharded)
        return Outputs(*found)  # type: ignore[arg-type]

    def _descended(self, batch: TrainBatch) -> float:
        """The loss on a batch, whose gradient the variables get; one part of the batch at a time is in memory."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.how.accumulate > 1 and self.objective.compares_images:
            return self._gathered(batch)
        total = torch.zeros(())
        for share, part in batch.parts(self.how.accumulate):
            parameters = self._parameters()
            loss = share * self._loss(part, self.outputs(parameters, part.all_images, part.tokens), parameters)
            (self.scale.factor * loss).backward()
            total = total.to(loss) + loss.detach()
        return total.item()

    def _gathered(self, batch: TrainBatch) -> float:
        """As `_descended`, for a loss that is no mean over parts: see `metaft.finetune.gathered`."""
        parts = cut(batch.all_images, batch.tokens, min(self.how.accumulate, len(batch.labels)))
        with torch.no_grad():
            found = [self.outputs(self._parameters(), *part) for part in parts]
        out, parameters = joined(found), self._parameters()
        loss = self._loss(batch, out, parameters)
        (self.scale.factor * loss).backward()
        for part, by in zip(parts, pulls(out, found), strict=True):
            pull(self.outputs(self._parameters(), *part), by)
        return loss.item()

    def _parameters(self) -> dict[str, Tensor]:
        return dict(self.hook.parameters(self.variables, self.pretrained))

    def _loss(self, batch: TrainBatch, out: Outputs, parameters: dict[str, Tensor]) -> Tensor:
        state = batch.observe(out, parameters, self.pretrained)
        loss = self.loss(state, self.objective.values())
        return loss if self.own is None else loss + self.own(Seen(state, batch, self.step, self.extra, self._at))

    @torch.no_grad()
    def _at(self, values: Tensors, batch: TrainBatch) -> Outputs:
        """The outputs on a batch, further sources left out, with other values of the variables."""
        parameters = self.hook.parameters(dict(zip(self.variables, values, strict=True)), self.pretrained)
        out: Outputs = functional_call(self.classifier, dict(parameters), (batch.images, batch.tokens))
        return out

    @torch.no_grad()
    def _update(self, pace: float) -> None:
        """Move the variables by their gradients, where these are finite, and drop these."""
        variables = list(self.variables.values())
        if self.scale.sound((v.grad for v in variables), self.layout.everywhere):
            if self.how.clip is not None:
                self.layout.shorten(variables, self.how.clip)
            self._move(variables, pace)
        self.optimizer.zero_grad(set_to_none=True)

    def _move(self, variables: list[Tensor], pace: float) -> None:
        """The optimizer's step, and what the hook does around it."""
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
        """The model with the parameters that the hook gives to be evaluated, in memory that the next step writes to."""
        values = self.hook.result(list(self.variables.values()), self.extra)
        parameters = self.hook.parameters(dict(zip(self.variables, values, strict=True)), self.pretrained)
        return holding(self.classifier, self.layout.whole(parameters))

    @torch.no_grad()
    def inner_state(self) -> InnerState:
        """A copy of the state in the inner loop's form."""
        params = {name: v.detach() for name, v in self.variables.items()}
        moments = {name: self.optimizer.state.get(v, {}) for name, v in self.variables.items()}
        m, v = (
            {name: moments[name].get(key, torch.zeros_like(p)) for name, p in params.items()}
            for key in ("exp_avg", "exp_avg_sq")
        )
        parts = (params, m, v, self._named(self.extra))
        whole, exp_avg, exp_avg_sq, extra = (tuple(self.layout.whole(part).values()) for part in parts)
        return InnerState(whole, exp_avg, exp_avg_sq, self.step, extra).map(torch.clone)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume from here, on any number of ranks: tensors, whole on the first one, and values.

        Other ranks have the same with what they hold of tensors.
        """
        optimizer = self.optimizer.state_dict()
        return {
            "step": self.step,
            "variables": self.layout.written({name: v.detach() for name, v in self.variables.items()}),
            "optimizer": {**optimizer, "state": self._moments(optimizer["state"], self.layout.written)},
            "extra": list(self.layout.written(self._named(self.extra)).values()),
            "scale": self.scale.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` returned on the first rank."""
        variables, optimizer = self.layout.held(state["variables"]), state["optimizer"]
        with torch.no_grad():
            for name, v in self.variables.items():
                v.copy_(variables[name])
        self.optimizer.load_state_dict({**optimizer, "state": self._moments(optimizer["state"], self.layout.held)})
        extra = self.layout.held(self._named(state["extra"])).values()
        self.extra = tuple(t.to(like.device) for t, like in zip(extra, self.extra, strict=True))
        self.scale.load_state_dict(state["scale"])
        self.step = state["step"]

    def _named(self, extra: Sequence[Tensor]) -> dict[str, Tensor]:
        """The hook's state; twins of the variables are named as these."""
        return dict(zip([*self.variables, *map(str, range(len(extra)))], extra, strict=False))

    def _moments(
        self, kept: Mapping[int, Mapping[str, Any]], change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    ) -> dict[int, dict[str, Any]]:
        """The optimizer's state by the number of a variable, with what is alike variables, by their names, changed."""
        of = {v: name for name, v in self.variables.items()}
        names = [of[v] for group in self.optimizer.param_groups for v in group["params"]]
        return {
            number: {key: x if key == "step" else change({names[number]: x})[names[number]] for key, x in one.items()}
            for number, one in kept.items()
        }


def hook_of(objective: Objective, names: Sequence[str], settings: FitSettings) -> tuple[Hook, Mapping[str, Any]]:
    """The hook that an objective names, for trained parameters of these names, and its knobs."""
    method, finetune = objective.method, settings.finetune
    if method is None:
        return PLAIN, {}
    knobs = {**finetune.knobs, method: {**finetune.knobs.get(method, {}), **objective.knobs}}
    return hook_for(method, names, finetune.model_copy(update={"knobs": knobs}))


def _laid_out(
    classifier: Classifier, whole: Mapping[str, Tensor], how: ComputeConfig, hook: Hook
) -> tuple[Whole, Running]:
    """How a training of these parameters holds tensors, and the model that runs on what it holds.

    Raises:
        ConfigError: it is to hold shards, and the hook needs whole tensors.
    """
    if not sharded(how):
        return Whole(), Running(classifier, how)
    if not hook.entrywise:
        raise ConfigError([refusal("finetune.shard", f"a method ({type(hook).__name__})")])
    layout = Shards({name: p.shape for name, p in whole.items()})
    return layout, Blockwise(classifier, how, layout.shapes)
