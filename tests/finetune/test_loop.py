"""The training loop against a plain one, the best check, divergence, and what it goes on from."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from metaft.clip.classifier import picked_parameters, trainable
from metaft.clip.predict import predict
from metaft.errors import CheckpointError, DivergedError
from metaft.finetune.context import Forgetful
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.metrics import accuracy
from metaft.objective import Objective
from tests.finetune.states import Keeper, by_hand, close, same


def test_plain_fine_tuning_is_torch_and_nothing_else(work, data, context, tuned):
    names = trainable(work.classifier, text=False, freeze=())
    close(tuned, by_hand(work.classifier, dict.fromkeys(names, 1e-3), data, context))


def test_theta_0_is_not_touched(work, data, context):
    before = copy.deepcopy(work.classifier.state_dict())
    train(work.classifier, Objective({"ce": 1.0, "flyp": 0.1, "l2init": 0.1}, 1e-3, 0.1), data, context, "x")
    assert all(torch.equal(t, before[k]) for k, t in work.classifier.state_dict().items())


def test_captions_train_the_text_tower(work, data, context):
    tuned = train(work.classifier, Objective({"ce": 1.0, "flyp": 1.0}, 1e-3, 0.1), data, context, "x")
    moved = {k for k, p in tuned.named_parameters() if not torch.equal(p, work.classifier.get_parameter(k))}
    assert {"clip.ln_final.weight", "clip.logit_scale", "head.bias"} <= moved
    assert "clip.token_embedding.weight" not in moved, "frozen by default"


@pytest.mark.parametrize("keeper", [Forgetful(), Keeper(stop=False)], ids=["in memory", "on disk"])
def test_the_best_check_by_id_validation_is_kept(work, data, context, keeper):
    """Wherever it is; nothing else is left of a training that has ended."""
    events: list[dict] = []
    several = replace(context.varied(steps=11, checks=3), log=events.append, keeper=keeper)
    model = train(work.classifier, Objective({"ce": 1.0}, 3e-2, 0.0), data, several, "x")
    kept = accuracy(predict(model, data.id_val, 64), data.id_val.labels)
    assert [e["step"] for e in events] == [4, 8, 11]
    scores = [e["id_val_accuracy"] for e in events]
    assert kept == max(scores)
    if keeper.keeps:
        best = events[scores.index(kept)]["step"]
        assert set(keeper.states) == {"x", f"x.best{best}"}
        assert not {"variables", "optimizer"} & set(keeper.load("x"))
        again = train(work.classifier, Objective({"ce": 1.0}, 3e-2, 0.0), data, several, "x")
        assert same(again, model), "it is not trained again"
        assert len(events) == 3


def test_a_crash_between_two_files_loses_nothing(work, data, context):
    """Stopped as the state of a second best check is about to be written, its parameters are there already."""

    class Torn(Keeper):
        def save(self, name, state):
            if name == "x" and state["step"] == 3:
                raise KeyboardInterrupt
            super().save(name, state)

    keeper, several = Torn(stop=False), context.varied(steps=6, checks=6)
    whole = train(work.classifier, context.settings.plain, data, several, "x")
    with pytest.raises(KeyboardInterrupt):
        train(work.classifier, context.settings.plain, data, replace(several, keeper=keeper), "x")
    rest = Keeper(stop=False)
    rest.states = keeper.states
    assert keeper.load("x")["step"] == 2
    assert f"x.best{keeper.load('x')['best']}" in keeper.states
    assert same(train(work.classifier, context.settings.plain, data, replace(several, keeper=rest), "x"), whole)


def test_a_state_is_written_once(work, data, context):
    """At a check that is the best, parameters and both moments, of which the parameters are not in the state."""

    class Sizes(Keeper):
        def save(self, name, state):
            super().save(name, state)
            sizes.setdefault(name, len(self.states[name]))

    sizes: dict[str, int] = {}
    short = replace(context.varied(steps=4, checks=2), keeper=Sizes(stop=False))
    train(work.classifier, context.settings.plain, data, short, "x")
    trained = picked_parameters(work.classifier, trainable(work.classifier, text=False, freeze=()))
    weights = sum(p.numel() * p.element_size() for p in trained.values())
    assert sizes["x.best2"] < 1.05 * weights
    assert sizes["x"] < 1.05 * 2 * weights


@pytest.mark.parametrize("lr", [1e9, math.inf])
def test_divergence_is_found(work, data, context, lr):
    with pytest.raises(DivergedError, match="ft: diverged"):
        METHODS["ft"].fit(work.classifier, data, context.varied(plain=Objective({"ce": 1.0}, lr, 0.1)))


def test_a_state_of_another_training_is_refused(work, data, context):
    kept, plain = replace(context, keeper=Keeper(stop=False)), context.settings.plain
    train(work.classifier, plain, data, kept, "ft")
    with pytest.raises(
        CheckpointError, match="ft: the training kept under this name differs in method; allowed: its own"
    ):
        train(work.classifier, replace(plain, method="ftp"), data, kept, "ft")


def test_images_are_augmented_where_it_is_asked(work, data, context, tuned):
    settings = context.settings
    varied = context.varied(finetune=settings.finetune.model_copy(update={"augment": "crop"}))
    one, again = (train(work.classifier, Objective({"ce": 1.0}, 1e-3, 0.1), data, varied, "x") for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(one.parameters(), tuned.parameters(), strict=True))
