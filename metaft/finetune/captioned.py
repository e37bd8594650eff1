"""What methods that use texts need of the text tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.errors import ConfigError, Fault
from metaft.finetune.context import FitContext


def caption_tokens(method: str, classifier: Classifier, context: FitContext) -> Tensor:
    """The tokens [C, M, L] of every class in every template.

    Raises:
        ConfigError: the model has no text tower.
    """
    tokens = context.settings.tokens
    if tokens is None or not hasattr(classifier.clip, "encode_text"):
        textless = f"{method!r} trains on captions, and this model has no text tower"
        raise ConfigError([Fault("evaluation.methods", textless, "other methods, or a model with a text tower")])
    return tokens


@torch.no_grad()
def text_features(classifier: Classifier, tokens: Tensor) -> Tensor:
    """Unit text features [N, D] of tokens [N, L]."""
    clip: Any = classifier.clip
    features: Tensor = clip.encode_text(tokens, normalize=True)
    return features.to(classifier.head.weight.dtype)
