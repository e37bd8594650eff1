"""The training loop: AdamW with warm-up and cosine on an objective; the best check by ID validation."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.cost import Cost
from metaft.data.types import SearchData
from metaft.errors import CheckpointError, DivergedError
from metaft.finetune.context import FitContext, FitSettings, Steer
from metaft.finetune.trainee import MakeHook, Trainee
from metaft.finetune.validation import score_on
from metaft.objective.objective import Objective
from metaft.progress import bar
from metaft.training.augment import AUGMENTS
from metaft.training.batches import DrawnBatches, Reference, TrainBatches
from metaft.training.schedule import warmup_cosine

RUNAWAY = 1e3  # times the first loss (or 1, if that is more): a loss beyond it has run away


def train(
    classifier: Classifier,
    objective: Objective,
    data: SearchData,
    context: FitContext,
    name: str,
    *,
    hook: MakeHook | None = None,
    finish: Callable[[Classifier], Classifier] = lambda model: model,
    steer: Steer | None = None,
) -> Classifier:
    """Fine-tune a copy of the classifier on an objective.

    The state is kept at every check; a training whose state was kept is resumed from it, with the same result.

    Args:
        name: the method's, for the log and the keeper.
        hook: makes the hook of every step and its knobs from the model and the names of its trained parameters, instead
            of the one that the objective names.
        finish: is applied to the model of each check before it is judged.
        steer: gives the objective of each step; by default the objective's schedule does.

    Raises:
        DivergedError: the loss stopped being finite or ran away.
        CheckpointError: the keeper has the state of another training under this name.
    """
    settings, steer = context.settings, steer or follow(objective)
    batches = _batches(classifier, objective, data, settings)
    trainee, watch = Trainee.begin(classifier, objective, settings, hook), Watch(name, settings.steps)
    record = Record(name, objective, data, context)
    record.take_up(trainee, watch)
    with bar(name, total=settings.steps, initial=trainee.step) as progress:
        while trainee.step < settings.steps:
            batch = batches[trainee.step]
            pace = warmup_cosine(trainee.step, settings.steps, settings.finetune.warmup)
            target = steer(trainee.step, settings.steps, trainee.inner_state)
            loss = watch.sound(trainee.advance(batch, target, pace), trainee.step)
            context.cost.step_equivalents += len(batch.all_images) / settings.finetune.batch_size
            progress.update()
            if is_check(trainee.step, settings):
                model = finish(trainee.current())
                score = score_on(data.id_val, model, context)
                watch.judge(model, score)
                told = {"loss": loss, f"id_val_{settings.metric}": score}
                context.log({"method": name, "step": trainee.step, **told})
                record.keep(trainee, watch)
                progress.set_postfix_str(f"loss {loss:.3f}, best id_val {settings.metric} {watch.score:.3f}")
    return watch.best_of(trainee.model)


def train_with_hook(classifier: Classifier, data: SearchData, context: FitContext, method: str) -> Classifier:
    """Fine-tune on the plain objective with the registered hook of a method."""
    return train(classifier, replace(context.settings.plain, method=method), data, context, method)


def follow(objective: Objective) -> Steer:
    """A `Steer` that gives the objective itself, or the stage of its schedule that holds at the step."""
    return lambda step, steps, state: objective.at(step / steps)


def is_check(step: int, settings: FitSettings) -> bool:
    """Whether the model is checked after `step` steps; the `checks` checks are spread evenly."""
    checks, steps = settings.checks, settings.steps
    return step * checks // steps > (step - 1) * checks // steps


def _batches(theta_0: Classifier, objective: Objective, data: SearchData, settings: FitSettings) -> DrawnBatches:
    tokens, device = settings.tokens if objective.needs_text else None, settings.device
    sources = {name: data.sources[name] for name in objective.trained_sources}
    reference, augment = Reference(theta_0, data.id_train, device), AUGMENTS[settings.finetune.augment]
    batches = TrainBatches(data.id_train, tokens, reference, device, sources, augment)
    generator = torch.Generator().manual_seed(settings.seed)
    return batches.drawn(settings.steps, settings.finetune.batch_size, generator)


@dataclass
class Watch:
    """A watch over a training: whether its loss stays in range, and which check is the best.

    Args:
        limit: the loss from which a training has run away; known after the first step.
        score: the best score in ID validation so far, and `best` the parameters that have it.
    """

    name: str
    steps: int
    limit: float = math.inf
    score: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)

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

    def judge(self, model: Classifier, score: float) -> None:
        """Remember a model's parameters if its score is the best so far."""
        if score > self.score:
            self.score, self.best = score, model.state_dict()

    def best_of(self, model: Classifier) -> Classifier:
        """The model with the parameters of the best check, loaded in place.

        Raises:
            DivergedError: they are not finite.
        """
        if not all(bool(t.isfinite().all()) for t in self.best.values()):
            raise DivergedError(f"{self.name}: diverged (its parameters are no longer finite)")
        model.load_state_dict(self.best)
        return model


class Record:
    """A training's state at the keeper, with what it has cost."""

    def __init__(self, name: str, objective: Objective, data: SearchData, context: FitContext) -> None:
        self._name, self._context = name, context
        settings = context.settings
        trained = (data.id_train, *(data.sources[name] for name in objective.trained_sources))
        sizes = {"steps": settings.steps, "seed": settings.seed, "images": sum(map(len, trained))}
        self._identity: dict[str, Any] = {**asdict(objective), **sizes}
        self._before, self._start = copy.copy(context.cost), time.perf_counter()

    def keep(self, trainee: Trainee, watch: Watch) -> None:
        """Hand the state and the cost so far to the keeper."""
        cost, before = self._context.cost, self._before
        elapsed = time.perf_counter() - self._start
        self._context.keeper.save(
            self._name,
            {
                "training": self._identity,
                **trainee.state_dict(),
                "limit": watch.limit,
                "score": watch.score,
                "best": watch.best,
                "step_equivalents": cost.step_equivalents - before.step_equivalents,
                "seconds": cost.seconds - before.seconds + elapsed,
            },
        )

    def take_up(self, trainee: Trainee, watch: Watch) -> None:
        """Resume from the keeper's state of this training, if there is one.

        Raises:
            CheckpointError: it is the state of another training.
        """
        state = self._context.keeper.load(self._name)
        if state is None:
            return
        if state["training"] != self._identity:
            odd = ", ".join(k for k in self._identity if state["training"].get(k) != self._identity[k])
            raise CheckpointError(f"{self._name}: the training kept under this name differs in {odd}; allowed: its own")
        trainee.load_state_dict(state)
        watch.limit, watch.score, watch.best = state["limit"], state["score"], state["best"]
        self._context.cost.add(Cost(state["step_equivalents"], state["seconds"]))
