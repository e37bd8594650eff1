"""The training loop: AdamW with warm-up and cosine on an objective; the best check by ID validation."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from itertools import islice

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, train_only
from metaft.clip.predict import predict
from metaft.data.types import SearchData
from metaft.errors import DivergedError
from metaft.finetune.settings import FitSettings
from metaft.metrics import accuracy
from metaft.objective import Objective, WeightedLoss, per_group
from metaft.objective.batches import Reference, TrainBatches
from metaft.progress import bar

RUNAWAY = 1e3


def train(
    classifier: Classifier, objective: Objective, data: SearchData, settings: FitSettings, name: str
) -> Classifier:
    """Fine-tune a copy of the classifier on an objective.

    The model stays in evaluation mode, so that batch norm keeps its statistics and the loss is the one searched.

    Args:
        name: of the method, for the log.

    Raises:
        DivergedError: the loss stopped being finite or ran away.
    """
    model = train_only(copy.deepcopy(classifier), text=objective.needs_text, freeze=settings.freeze)
    params: dict[str, Tensor] = dict(model.trained())
    pretrained = {k: p.detach().clone() for k, p in params.items()}
    values = objective.values()
    loss_of = WeightedLoss(model.groups(), sum(p.numel() for p in pretrained.values()), settings.penalty_scale)
    optimizer = adamw(model, values, settings.betas, settings.eps)
    batches = _batches(classifier, objective, data, settings)
    steps, checks = settings.steps, settings.checks
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: warmup_cosine(t, steps, settings.warmup))
    stream = islice(batches.stream(settings.batch_size, torch.Generator().manual_seed(settings.seed)), steps)
    best, runaway = _Best(), _Runaway(name, steps)
    with bar(name, total=steps) as progress:
        for step, batch in enumerate(stream, 1):
            state = batch.observe(model(batch.images, batch.tokens), params, pretrained)
            loss = loss_of(state, values)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            current = runaway.check(step, loss.item())
            progress.update()
            if step * checks // steps > (step - 1) * checks // steps:
                score = best.offer(model, _id_val(model, data, settings))
                settings.log({"method": name, "step": step, "loss": current, "id_val_accuracy": score})
                progress.set_postfix_str(f"loss {current:.3f}, best id_val {best.score:.1%}")
    return best.restore(model, name)


def _batches(classifier: Classifier, objective: Objective, data: SearchData, settings: FitSettings) -> TrainBatches:
    tokens = settings.tokens if objective.needs_text else None
    return TrainBatches(data.id_train, tokens, Reference(classifier, data.id_train, settings.device), settings.device)


class _Best:
    """The best parameters so far."""

    def __init__(self) -> None:
        self.score = -1.0
        self._state: dict[str, Tensor] = {}

    def offer(self, model: Classifier, score: float) -> float:
        """Keep the model's parameters if its score is the best yet; the score."""
        if score > self.score:
            self.score, self._state = score, copy.deepcopy(model.state_dict())
        return score

    def restore(self, model: Classifier, name: str) -> Classifier:
        """The model with the best parameters."""
        if not all(bool(t.isfinite().all()) for t in self._state.values()):
            raise DivergedError(f"{name}: diverged (its parameters are no longer finite)")
        model.load_state_dict(self._state)
        return model


class _Runaway:
    """Watches a loss for divergence: not finite, or RUNAWAY times its first value (or 1, if that is more)."""

    def __init__(self, name: str, steps: int) -> None:
        self._name, self._steps, self._limit = name, steps, math.inf

    def check(self, step: int, loss: float) -> float:
        """The loss, if it is sound."""
        if step == 1:
            self._limit = RUNAWAY * max(1.0, abs(loss))
        if not math.isfinite(loss) or abs(loss) > self._limit:
            raise DivergedError(f"{self._name}: diverged in step {step} of {self._steps} (loss {loss:.3g})")
        return loss


def adamw(model: Classifier, values: Mapping[str, float], betas: tuple[float, float], eps: float) -> torch.optim.AdamW:
    """torch's AdamW over the trained parameters, each group with its own lr and weight decay from `values`."""
    parameters = model.trained()
    groups = [
        {
            "params": [parameters[name] for name in members],
            "lr": per_group(values, "lr", group),
            "weight_decay": per_group(values, "wd", group),
        }
        for group, members in model.groups().items()
    ]
    return torch.optim.AdamW(groups, betas=betas, eps=eps)


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step: a line up over `warmup` of the steps, then a cosine down to 0."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))


def _id_val(model: Classifier, data: SearchData, settings: FitSettings) -> float:
    logits: Tensor = predict(model, data.id_val, settings.eval_batch_size, settings.device)
    return accuracy(logits, data.id_val.labels)
