"""What a training leaves as it goes: whether its loss is in range, its state at each check, and its best check."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, holding
from metaft.cost import Cost
from metaft.data.types import SearchData
from metaft.errors import CheckpointError, DivergedError
from metaft.finetune.context import FitContext
from metaft.finetune.scaling import LEAST, Scale
from metaft.finetune.trainee import Trainee
from metaft.objective.objective import Objective

RUNAWAY = 1e3  # times the first loss (or 1, if that is more): a loss beyond it has run away


@dataclass
class Watch:
    """A watch over a training: whether its loss stays in range, and which check is the best.

    Args:
        limit: the loss from which a training has run away; known after the first step.
        score: the best score in ID validation so far, and `best` the step that has it, 0 before any.
    """

    name: str
    steps: int
    limit: float = math.inf
    score: float = -math.inf
    best: int = 0

    def sound(self, loss: float, step: int) -> float:
        """The loss, if it is finite and within RUNAWAY times its first value (or 1, if that is more).

        Raises:
            DivergedError: it is not.
        """
        if step == 1:
            self.limit = RUNAWAY * max(1.0, abs(loss))
        if not math.isfinite(loss) or abs(loss) > self.limit:
            raise DivergedError(f"{self.name}: diverged in step {step} of {self.steps} (loss {loss:.3g})")
        return loss

    def scaled(self, scale: Scale, step: int) -> None:
        """Look at the factor of a loss after a step.

        Raises:
            DivergedError: gradients are not finite in float16 even by an unscaled loss.
        """
        if scale.moves and scale.factor < LEAST:
            where = f"{self.name}: diverged in step {step} of {self.steps}"
            raise DivergedError(
                f"{where} (its gradients are beyond float16, whose finetune.precision has no more range)"
            )

    def judge(self, step: int, score: float) -> bool:
        """Whether a check has the best score so far, which is remembered."""
        if score <= self.score or math.isnan(score):
            return False
        self.score, self.best = score, step
        return True


class Record:
    """A training at the keeper: the state of its last check, and the parameters of its best one.

    Of a training that has ended only the latter are kept. What both have in common is written once, with the
    parameters; where the keeper keeps nothing, these are in host memory.
    """

    def __init__(self, name: str, objective: Objective, data: SearchData, context: FitContext, watch: Watch) -> None:
        self._name, self._context, self._watch = name, context, watch
        settings = context.settings
        trained = (data.id_train, *(data.sources[name] for name in objective.trained_sources))
        sizes = {"steps": settings.steps, "seed": settings.seed, "images": sum(map(len, trained))}
        self._identity: dict[str, Any] = {**asdict(objective), **sizes}
        self._before, self._start = copy.copy(context.cost), time.perf_counter()
        self._best: Mapping[str, Tensor] | None = None  # the best check's parameters, unless the keeper alone has them

    def keep(self, trainee: Trainee, model: Classifier, score: float) -> None:
        """Hand a check to the keeper: the judged model, if it is the best, the state, and the cost so far.

        The models of as many last checks as the settings say are kept beside these, whatever becomes of the training.
        """
        keeper, earlier, ended = self._context.keeper, self._watch.best, trainee.step == self._watch.steps
        if most := self._context.settings.finetune.keep_checks:
            keeper.retain(self._name, trainee.step, model, most)
        if self._watch.judge(trainee.step, score):
            self._best = _apart(model, trainee.classifier)
            keeper.save(self._part(trainee.step), {"parameters": self._best})
            held = self._best
        else:
            held = {}
        tensors = _without(trainee.state_dict(), held) if keeper.keeps and not ended else {}
        keeper.save(self._name, self._state(trainee, tensors))
        if earlier not in (0, self._watch.best):
            keeper.drop(self._part(earlier))
        if held and not ended:  # the next step writes to where these are
            self._best = None if keeper.keeps else {name: p.to("cpu", copy=True) for name, p in held.items()}

    def _state(self, trainee: Trainee, tensors: Mapping[str, Any]) -> dict[str, Any]:
        cost, before = self._context.cost, self._before
        elapsed = time.perf_counter() - self._start
        return {
            "training": self._identity,
            "step": trainee.step,
            **tensors,
            "limit": self._watch.limit,
            "score": self._watch.score,
            "best": self._watch.best,
            "step_equivalents": cost.step_equivalents - before.step_equivalents,
            "seconds": cost.seconds - before.seconds + elapsed,
        }

    def take_up(self, trainee: Trainee) -> None:
        """Resume from the keeper's state of this training, if there is one.

        Raises:
            CheckpointError: it is the state of another training, or the best check's parameters are missing.
        """
        state = self._context.keeper.load(self._name)
        if state is None:
            return
        if state["training"] != self._identity:
            odd = ", ".join(k for k in self._identity if state["training"].get(k) != self._identity[k])
            raise CheckpointError(f"{self._name}: the training kept under this name differs in {odd}; allowed: its own")
        self._watch.limit, self._watch.score, self._watch.best = state["limit"], state["score"], state["best"]
        if state["step"] == self._watch.steps:
            trainee.step = state["step"]
        else:
            held = self._kept() if state["best"] == state["step"] else {}
            trainee.load_state_dict({**state, "variables": {**held, **state["variables"]}})
        self._context.cost.add(Cost(state["step_equivalents"], state["seconds"]))

    def best(self, classifier: Classifier) -> Classifier:
        """The model of the best check; what did not train is shared with the classifier that the training began with.

        Raises:
            DivergedError: its parameters are not finite, or no check had a score.
        """
        if self._watch.best == 0:
            raise DivergedError(f"{self._name}: diverged (no check has a score)")
        best = self._kept() if self._best is None else self._best
        if not all(bool(t.isfinite().all()) for t in best.values()):
            raise DivergedError(f"{self._name}: diverged (its parameters are no longer finite)")
        return holding(classifier, best)

    def _kept(self) -> Mapping[str, Tensor]:
        part = self._part(self._watch.best)
        state = self._context.keeper.load(part)
        if state is None:
            raise CheckpointError(f"{part}: the parameters of the best check are missing; allowed: as they were kept")
        parameters: Mapping[str, Tensor] = state["parameters"]
        return parameters

    def _part(self, step: int) -> str:
        return f"{self._name}.best{step}"


def _apart(model: Classifier, theta_0: Classifier) -> dict[str, Tensor]:
    """The parameters of a model that it does not share with another, by name."""
    shared = dict(theta_0.named_parameters())
    return {name: p.detach() for name, p in model.named_parameters() if p is not shared[name]}


def _without(state: Mapping[str, Any], held: Mapping[str, Tensor]) -> dict[str, Any]:
    """A trainee's state without those of its variables that are among these tensors."""
    others = {k: v for k, v in state["variables"].items() if k not in held or not torch.equal(v, held[k].to(v.device))}
    return {**state, "variables": others}
