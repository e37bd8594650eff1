"""carot: its loss and its teacher by hand, the projection that it needs, and flyp without weights."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from metaft.clip.classifier import holding
from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.carot import Teacher, askew, projection_of, similarities, taught
from metaft.finetune.methods.flyp import with_text_head
from tests.finetune.own import agree
from tests.finetune.states import brief, close, descended, same
from tests.hooks.rows import tensors


@pytest.mark.parametrize("accumulate", [1, 2])
def test_its_steps_are_those_of_torch(work, context, accumulate):
    teachers = {}

    def function(seen):
        teacher = seen.at(list(seen.extra[1:]), seen.batch)
        skew = askew(seen.state.params[projection_of(work.classifier)])
        return 0.2 * skew + 1.5 * taught(similarities(seen.state), similarities(teacher))

    def by_hand(out, first, batch, model, step):
        if step == 0:
            teachers[0] = copy.deepcopy(model)
        else:
            teachers[1] = copy.deepcopy(teachers[0])
            with torch.no_grad():
                for old, new in zip(teachers[1].parameters(), model.parameters(), strict=True):
                    old.mul_(0.05).add_(0.95 * new)
        with torch.no_grad():
            wise = teachers[step](batch.images, batch.tokens)
        loss = 0.2 * ((model.clip.visual.proj.T @ model.clip.visual.proj - torch.eye(64)) ** 2).sum() ** 0.5
        s, t = (o.logit_scale * o.image_features @ o.text_features.T for o in (out, wise))
        for a, b in ((s, t), (s.T, t.T)):
            loss = loss - 1.5 * (b.softmax(1) * a.softmax(1).log()).sum(1).mean()
        return loss

    teacher = (Teacher(20, 20), {"decay": 0.9})
    agree(work, context, function, by_hand, {"flyp": 1.0}, hook=lambda *_: teacher, accumulate=accumulate)


def test_its_fit_adds_orthogonality_and_distillation_by_its_knobs(work, data, context):
    few, teachers = brief(context), {}
    knobs = {"orthogonality": 2.0, "distillation": 3.0, "decay": 0.6}

    def loss(out, first, batch, model, step):
        if step == 0:
            teachers[0] = copy.deepcopy(model)
        else:
            kept = teachers[step] = copy.deepcopy(teachers[step - 1])
            with torch.no_grad():
                for old, new in zip(kept.parameters(), model.parameters(), strict=True):
                    old.lerp_(new, 0.95 if step == 1 else 0.4)  # of three steps the first fifth is less than one
        with torch.no_grad():
            wise = teachers[step](batch.images, batch.tokens)
        gram, each = model.clip.visual.proj.T @ model.clip.visual.proj, torch.arange(len(batch.labels))
        s, t = (o.logit_scale * o.image_features @ o.text_features.T for o in (out, wise))
        contrast = (F.cross_entropy(s, each) + F.cross_entropy(s.T, each)) / 2
        taught = sum(-(b.softmax(1) * a.log_softmax(1)).sum(1).mean() for a, b in ((s, t), (s.T, t.T)))
        return contrast + 2.0 * (gram - torch.eye(64)).square().sum().sqrt() + 3.0 * taught

    fitted = METHODS["carot"].fit(work.classifier, data, few.with_knobs("carot", knobs))
    theirs = descended(loss, work.classifier, data, few, text=True)
    weight = fitted.head.weight.detach()
    torch.testing.assert_close(weight, with_text_head(theirs, work.tokens).head.weight, rtol=1e-4, atol=1e-4)
    close(fitted, holding(theirs, {"head.weight": weight}))


def test_the_teacher_moves_as_often_as_it_is_told():
    hook, anchors = Teacher(steps=20, updates=5), tensors(0)
    state, expected = hook.initial(anchors), anchors
    for step in range(20):
        values = tensors(1 + step)
        after, state = hook.after(values, anchors, state, {"decay": 0.9})
        assert after is values
        if step % 4 == 0:
            m = 0.05 + 0.85 * min(step / 4, 1)
            expected = [m * e + (1 - m) * v for e, v in zip(expected, values, strict=True)]
        for ours, theirs in zip(state[1:], expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.full
def test_without_weights_it_is_flyp(few, short, fits):
    none = short.with_knobs("carot", {"orthogonality": 0.0, "distillation": 0.0})
    assert same(METHODS["carot"].fit(few.classifier, few.splits.search_data, none), fits.model("flyp"))


def test_it_needs_a_projection(work, data, short):
    model = copy.deepcopy(work.classifier)
    model.clip.visual.proj = None
    with pytest.raises(ConfigError, match="'carot', and the image tower has no projection; allowed:"):
        METHODS["carot"].fit(model, data, short)
