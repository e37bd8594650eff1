"""flyp: fine-tuning as the model was pretrained, on images against captions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from metaft.clip.classifier import Classifier, holding
from metaft.data.types import SearchData
from metaft.finetune.captioned import caption_tokens
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The contrastive loss between images and captions of their classes; the head is rebuilt from the text tower.

    Its weight is rebuilt, too, where model.freeze keeps it.

    Raises:
        ConfigError: the model has no text tower.

    Source: Goyal et al., Finetune like you pretrain, CVPR 2023, section 3.
    """
    tokens = caption_tokens("flyp", classifier, context)
    objective = replace(context.settings.plain, terms={"flyp": 1.0})
    return train(classifier, objective, data, context, "flyp", finish=lambda model: with_text_head(model, tokens))


@torch.no_grad()
def with_text_head(model: Classifier, tokens: torch.Tensor) -> Classifier:
    """The model with the head that its text tower makes of caption tokens [C, M, L].

    W_c = exp(s) times the unit mean over a class's captions of their unit text features; the bias stays.
    """
    clip: Any = model.clip
    directions = [F.normalize(clip.encode_text(t, normalize=True).mean(dim=0), dim=0) for t in tokens]
    return holding(model, {"head.weight": torch.stack(directions) * clip.logit_scale.exp()})
