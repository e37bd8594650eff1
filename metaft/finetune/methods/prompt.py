"""prompt: the words before class names are learned, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.errors import ConfigError, Fault
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of, paced
from metaft.finetune.loop import train
from metaft.hooks.hook import Hook
from metaft.hooks.prompt import Prompt, token_embedding, with_words_in_front


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.prompt.Prompt` (CoOp: Zhou et al., IJCV 2022).

    `vectors`: `shared` by all classes, or each class's `own`. The paper descends with SGD from 0.002; here it is AdamW,
    at `lr_factor` times plain fine-tuning's learning rate.

    Raises:
        ConfigError: the model has no text tower, or no template has a word before the name.
    """
    tokens, context = context.settings.tokens, paced("prompt", context)
    if tokens is None:
        textless = "'prompt' learns the words before a class's name, and this model has no text tower"
        raise ConfigError([Fault("evaluation.methods", textless, "other methods, or a model with a text tower")])

    def hook(model: Classifier, names: Sequence[str]) -> tuple[Hook, Mapping[str, Any]]:
        return Prompt(model.clip, tokens, knobs_of("prompt", context)["vectors"] == "own"), {}

    return train(classifier, context.settings.plain, data, context, "prompt", hook=hook)


def needs(classifier: Classifier, tokens: Tensor) -> None:
    """Refuse a model without an embedding of tokens, and caption tokens [C, M, L] without a word before the name.

    Raises:
        ConfigError: as `metaft.hooks.prompt.Prompt` does.
    """
    token_embedding(classifier.clip)
    with_words_in_front(tokens)
