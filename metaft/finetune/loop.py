"""The training loop: AdamW with warm-up and cosine on an objective; the best epoch by ID validation."""

from __future__ import annotations

import copy
import math

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

RUNAWAY = 1e3  # a loss so many times its first value (or 1, if that is more) has diverged


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
    pretrained = {k: p.detach().clone() for k, p in model.trained().items()}
    groups, values = model.groups(), objective.values()
    loss_of = WeightedLoss(groups, sum(p.numel() for p in pretrained.values()), settings.penalty_scale)
    reference = Reference(classifier, data.id_train, settings.device)
    tokens = settings.tokens if objective.needs_text else None
    batches = TrainBatches(data.id_train, tokens, reference, settings.device)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [parameters[k] for k in members],
                "lr": per_group(values, "lr", group),
                "weight_decay": per_group(values, "wd", group),
            }
            for group, members in groups.items()
        ],
        betas=settings.betas,
        eps=settings.eps,
    )
    per_epoch = batches.per_epoch(settings.batch_size)
    steps = settings.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: warmup_cosine(t, steps, settings.warmup))
    best, best_state, first = -1.0, copy.deepcopy(model.state_dict()), math.nan
    stream = batches.stream(settings.batch_size, torch.Generator().manual_seed(settings.seed))
    with bar(name, total=steps) as progress:
        for step in range(steps):
            batch = next(stream)
            state = batch.observe(model(batch.images, batch.tokens), dict(model.trained()), pretrained)
            loss = loss_of(state, values)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            current = loss.item()
            first = current if step == 0 else first
            if not math.isfinite(current) or abs(current) > RUNAWAY * max(1.0, abs(first)):
                raise DivergedError(f"{name}: diverged in step {step + 1} of {steps} (loss {current:.3g})")
            progress.update()
            if (step + 1) % per_epoch == 0:
                score = _id_val(model, data, settings)
                settings.log(
                    {"method": name, "epoch": (step + 1) // per_epoch, "loss": current, "id_val_accuracy": score}
                )
                progress.set_postfix_str(f"loss {current:.3f}, best id_val {max(best, score):.1%}")
                if score > best:
                    best, best_state = score, copy.deepcopy(model.state_dict())
    if not all(bool(t.isfinite().all()) for t in best_state.values()):
        raise DivergedError(f"{name}: diverged (its parameters are no longer finite)")
    model.load_state_dict(best_state)
    return model


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step: a line up over `warmup` of the steps, then a cosine down to 0."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))


def _id_val(model: Classifier, data: SearchData, settings: FitSettings) -> float:
    logits: Tensor = predict(model, data.id_val, settings.eval_batch_size, settings.device)
    return accuracy(logits, data.id_val.labels)
