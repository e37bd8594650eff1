"""carot: contrastive fine-tuning towards an orthogonal projection, taught by an average of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.clip.classifier import Classifier, Outputs
from metaft.data.types import SearchData
from metaft.errors import ConfigError, Fault
from metaft.finetune.captioned import caption_tokens
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train
from metaft.finetune.methods.flyp import with_text_head
from metaft.finetune.own import Own, Seen
from metaft.hooks.hook import Hook, Knobs, State
from metaft.objective.state import StepState
from metaft.tensors import Tensors

PROJECTIONS = {  # of image features, by parameter name: whether it is stored as [D, width]
    "clip.visual.proj": False,
    "clip.visual.attnpool.c_proj.weight": True,
    "clip.visual.head.proj.weight": True,
}
FIRST_DECAY, WARMUP = 0.05, 0.2  # of the teacher: its decay at first, and the share of steps until the last one


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """flyp's contrastive loss, orthogonality of the image projection, and distillation from a moving average.

        InfoNCE + orthogonality |W' W - 1|_F + distillation mean_i (CE(P_i, Q_i) + CE(P'_i, Q'_i))

    with W [width, D] the projection to the features, Q and Q' the softmax of each image over the batch's captions and
    of each caption over its images, and P and P' the same of the teacher, which is no part of a graph. The teacher is
    theta_0 at first; `updates` times, evenly spread over the training, it becomes m teacher + (1 - m) theta, with m
    rising from 0.05 to `decay` within the first fifth. The head is rebuilt from the text tower, as flyp's is, also
    where model.freeze keeps it.

    Weights of 0.2 and 1.5, decays and warm-up are those of the released code, whose update after every 500 of 25,020
    steps is one of 50. It takes the norm, as here, not its square. It adds 0.05 |W V'|_F, with V the text projection,
    which is left out. Without weights this is flyp. It is no hook, since what it adds is a loss.

    Raises:
        ConfigError: the model has no text tower, or its image tower no projection that is known.

    Source: Oh et al., Towards calibrated robust fine-tuning of vision-language models, NeurIPS 2024, arXiv 2311.01723.
    """
    tokens, knobs = caption_tokens("carot", classifier, context), knobs_of("carot", context)
    name = projection_of(classifier)

    def added(seen: Seen) -> Tensor:
        total = seen.state.logits.new_zeros(())
        if knobs["orthogonality"] != 0 and name in seen.state.params:  # it may be frozen
            w = seen.state.params[name]
            total = total + knobs["orthogonality"] * askew(w.T if PROJECTIONS[name] else w)
        if knobs["distillation"] != 0:
            teacher = seen.at(list(seen.extra[1:]), seen.batch)
            total = total + knobs["distillation"] * taught(similarities(seen.state), similarities(teacher))
        return total

    def hook(model: Classifier, names: Sequence[str]) -> tuple[Hook, Mapping[str, Any]]:
        return Teacher(context.settings.steps, knobs["updates"]), knobs

    objective = replace(context.settings.plain, terms={"flyp": 1.0})
    finish = lambda model: with_text_head(model, tokens)  # noqa: E731
    return train(classifier, objective, data, context, "carot", hook=hook, finish=finish, own=Own(1.0, added))


def needs(classifier: Classifier, tokens: Tensor) -> None:
    """Refuse a model without a projection of image features; raises what `projection_of` raises."""
    projection_of(classifier)


def projection_of(classifier: Classifier) -> str:
    """The name of the parameter that projects to image features.

    Raises:
        ConfigError: there is none of a known name.
    """
    names = dict(classifier.named_parameters())
    found = [name for name in PROJECTIONS if name in names]
    if not found:
        allowed = f"other methods, or a model with one of {', '.join(PROJECTIONS)}"
        raise ConfigError([Fault("evaluation.methods", "'carot', and the image tower has no projection", allowed)])
    return found[0]


def askew(w: Tensor) -> Tensor:
    """How far the columns of W [width, D] are from orthonormal: |W' W - 1|_F, []."""
    gram = w.T @ w
    norm: Tensor = torch.linalg.matrix_norm(gram - torch.eye(len(gram), dtype=w.dtype, device=w.device))
    return norm


def similarities(out: StepState | Outputs) -> Tensor:
    """t <image, caption> of the images and captions of a batch, [B, B]."""
    assert out.text_features is not None, "the objective needs captions"
    similar: Tensor = out.logit_scale * out.image_features @ out.text_features.T
    return similar


def taught(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the student's rows and of its columns beside the teacher's, [], from similarities [B, B]."""
    return F.cross_entropy(student, teacher.softmax(1)) + F.cross_entropy(student.T, teacher.T.softmax(1))


class Teacher(Hook):
    """A moving average beside a training of so many steps, which changes nothing but its state.

    Args:
        steps: of the training.
        updates: how often the average moves.
    """

    def __init__(self, steps: int, updates: int) -> None:
        self._steps, self._every = steps, max(1, steps // updates)

    def initial(self, anchors: Tensors) -> State:
        """The number of steps, [], and theta_0."""
        return (anchors[0].new_zeros(()), *anchors)

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The values unchanged; in some steps the average moves towards them."""
        step, teacher = int(state[0]), state[1:]
        if step % self._every == 0:
            decay = FIRST_DECAY + (knobs["decay"] - FIRST_DECAY) * min(1.0, step / (WARMUP * self._steps))
            teacher = tuple(torch.lerp(v, t, decay) for v, t in zip(values, teacher, strict=True))
        return values, (state[0] + 1, *teacher)
