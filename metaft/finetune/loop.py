"""The training loop: AdamW with warm-up and cosine on an objective; the best check by ID validation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext, FitSettings, Steer
from metaft.finetune.memory import advised
from metaft.finetune.optimizers import MakeOptimizer, adamw
from metaft.finetune.own import Own
from metaft.finetune.record import Record, Watch
from metaft.finetune.trainee import MakeHook, Trainee
from metaft.finetune.validation import score_on
from metaft.objective.objective import Objective
from metaft.progress import bar
from metaft.training.augment import AUGMENTS
from metaft.training.batches import DrawnBatches, TrainBatches
from metaft.training.reference import Reference
from metaft.training.schedule import warmup_cosine


def train(
    classifier: Classifier,
    objective: Objective,
    data: SearchData,
    context: FitContext,
    name: str,
    *,
    hook: MakeHook | None = None,
    optimizer: MakeOptimizer = adamw,
    finish: Callable[[Classifier], Classifier] = lambda model: model,
    steer: Steer | None = None,
    own: Own | None = None,
) -> Classifier:
    """Fine-tune a classifier on an objective; it stays as it is, and its frozen parameters are those of the result.

    The state is kept at every check; a training whose state was kept is resumed from it, with the same result.

    Args:
        name: the method's, for the log and the keeper.
        hook: makes the hook of every step and its knobs from the model and the names of its trained parameters, instead
            of the one that the objective names.
        optimizer: makes what takes the steps.
        finish: is applied to the model of each check before it is judged.
        steer: gives the objective of each step; by default the objective's schedule does.
        own: a term that is added to the objective's (see `metaft.finetune.own`).

    Raises:
        DivergedError: the loss stopped being finite or ran away.
        CheckpointError: the keeper has the state of another training under this name.
        OutOfMemoryError: memory ran out.
    """
    settings, steer = context.settings, steer or follow(objective)
    with advised(name, settings):
        batches = _batches(classifier, objective, data, settings)
        trainee = Trainee.begin(classifier, objective, settings, hook, optimizer, own)
        watch = Watch(name, settings.steps)
        record = Record(name, objective, data, context, watch)
        record.take_up(trainee)
        coming = batches.following(trainee.step, trainee.share)
        with closing(coming), bar(name, total=settings.steps, initial=trainee.step) as progress:
            for batch in coming:
                pace = warmup_cosine(trainee.step, settings.steps, settings.finetune.warmup)
                target = steer(trainee.step, settings.steps, trainee.inner_state)
                loss = watch.sound(trainee.advance(batch, target, pace), trainee.step)
                watch.scaled(trainee.scale, trainee.step)
                context.cost.step_equivalents += len(batch.all_images) / settings.finetune.batch_size
                progress.update()
                if is_check(trainee.step, settings):
                    model = finish(trainee.current())
                    score = score_on(data.id_val, model, context)
                    told = {"loss": loss, f"id_val_{settings.metric}": score}
                    context.log({"method": name, "step": trainee.step, **told})
                    record.keep(trainee, model, score)
                    del model  # which is whole where the trainee holds shards
                    progress.set_postfix_str(f"loss {loss:.3f}, best id_val {settings.metric} {watch.score:.3f}")
        return record.best(classifier)


def train_with_hook(
    classifier: Classifier, data: SearchData, context: FitContext, method: str, optimizer: MakeOptimizer = adamw
) -> Classifier:
    """Fine-tune on the plain objective with the registered hook of a method."""
    objective = replace(context.settings.plain, method=method)
    return train(classifier, objective, data, context, method, optimizer=optimizer)


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
    asked, augment = settings.steps * settings.finetune.batch_size, AUGMENTS[settings.finetune.augment]
    reference = Reference(theta_0, data.id_train, device, asked)
    batches = TrainBatches(data.id_train, tokens, reference, device, sources, augment)
    generator = torch.Generator().manual_seed(settings.seed)
    return batches.drawn(settings.steps, settings.finetune.batch_size, generator)
