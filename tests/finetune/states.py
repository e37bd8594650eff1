"""What tests of fits share: comparing models, changing settings, keeping and interrupting trainings."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from metaft.clip.classifier import trainable
from metaft.config.schema import AdamWConfig
from metaft.finetune.context import FitContext
from metaft.finetune.methods import METHODS
from metaft.hooks.hook import PLAIN
from metaft.training.batches import TrainBatches
from metaft.training.reference import Reference
from metaft.training.schedule import warmup_cosine


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether all parameters are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def with_finetune(context: FitContext, **changes: Any) -> FitContext:
    """The context with other settings of the section `finetune`."""
    return context.varied(finetune=context.settings.finetune.model_copy(update=changes))


def by_hand(
    classifier,
    rates: dict[str, float],
    data,
    context: FitContext,
    optimizer=torch.optim.AdamW,
    hook=PLAIN,
    knobs=None,
    **options,
) -> torch.nn.Module:
    """One epoch of 50 images a step by torch's optimizer alone, each named parameter at its learning rate.

    A hook does what it does around each step.
    """
    model = copy.deepcopy(classifier)
    parameters = [model.get_parameter(name) for name in rates]
    anchors = [p.detach().clone() for p in parameters]
    groups = [{"params": [p], "initial_lr": rate} for p, rate in zip(parameters, rates.values(), strict=True)]
    optimizer = optimizer(groups, weight_decay=0.1, **(options or {"eps": context.settings.optimizer.eps}))
    order = torch.randperm(len(data.id_train), generator=torch.Generator().manual_seed(context.settings.seed))
    state = hook.initial(anchors)
    for t, rows in enumerate(order.split(50)):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * warmup_cosine(t, 4, 0.1)
        batch = data.id_train.batch(rows)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch.images).logits, batch.labels).backward()
        with torch.no_grad():
            grads, state = hook.before([p.grad for p in parameters], parameters, anchors, state, knobs)
            for p, g in zip(parameters, grads, strict=True):
                p.grad = g
            optimizer.step()
            after, state = hook.after(parameters, anchors, state, knobs)
            for p, value in zip(parameters, after, strict=True):
                p.copy_(value)
    return model


def brief(context: FitContext) -> FitContext:
    """Three steps of twelve images, judged at their end; beside eps the rounding of gradients is nothing."""
    return with_finetune(context.varied(steps=3, checks=1, optimizer=AdamWConfig(eps=1e-2)), batch_size=12)


def descended(loss, classifier, data, context: FitContext, *, text=False, sources=None) -> torch.nn.Module:
    """What torch's AdamW makes of theta_0 on a loss by hand, in the batches that a fit draws.

    Args:
        loss: (outputs, theta_0's outputs, batch, model, step) to the loss, [].
    """
    settings, model = context.settings, copy.deepcopy(classifier)
    params = [model.get_parameter(name) for name in trainable(model, text=text, freeze=settings.freeze)]
    optimizer = torch.optim.AdamW(params, weight_decay=0.1, eps=settings.optimizer.eps)
    tokens, reference = settings.tokens if text else None, Reference(classifier, data.id_train, "cpu")
    source = TrainBatches(data.id_train, tokens, reference, "cpu", sources or {})
    generator = torch.Generator().manual_seed(settings.seed)
    for step, batch in enumerate(source.drawn(settings.steps, settings.finetune.batch_size, generator)):
        optimizer.param_groups[0]["lr"] = settings.plain.lr * warmup_cosine(step, settings.steps, 0.1)
        with torch.no_grad():
            first = classifier(batch.images, batch.tokens)
        optimizer.zero_grad()
        loss(model(batch.images, batch.tokens), first, batch, model, step).backward()
        optimizer.step()
    return model


def moved(model, other) -> set[str]:
    """The names of the parameters in which two models differ."""
    return {name for name, p in model.named_parameters() if not torch.equal(p, other.get_parameter(name))}


def close(model, other) -> None:
    """Two models' parameters are equal but for the order of additions, which is all that moves a key bias."""
    dead = model.dead()
    with torch.no_grad():
        for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
            ours, theirs = p.clone(), q.clone()
            if name in dead:
                ours[dead[name]] = theirs[dead[name]] = 0.0
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


class Keeper:
    """Keeps states as files would; stops a training like Ctrl-C after its first check."""

    keeps = True

    def __init__(self, stop: bool) -> None:
        self.states: dict[str, bytes] = {}
        self.stop = stop

    def load(self, name):
        if name not in self.states:
            return None
        return torch.load(io.BytesIO(self.states[name]), weights_only=True)

    def save(self, name, state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.states[name] = buffer.getvalue()
        if self.stop and state.get("step") == 10:
            raise KeyboardInterrupt

    def drop(self, name):
        del self.states[name]


def goes_on_to_the_same_end(method: str, work, data, context: FitContext) -> bool:
    """Whether a method's training that is interrupted at its first check comes to what it comes to without."""
    fit = METHODS[method].fit
    through, keeper = fit(work.classifier, data, context), Keeper(stop=True)
    with pytest.raises(KeyboardInterrupt):
        fit(work.classifier, data, replace(context, keeper=keeper))
    keeper.stop = False
    return same(fit(work.classifier, data, replace(context, keeper=keeper)), through)
