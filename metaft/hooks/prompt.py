"""CoOp: the words before a class's name are vectors that learn, and the text tower makes the head of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metaft.errors import ConfigError, Fault
from metaft.hooks.hook import Hook

CONTEXT = "context"  # the only variable


class Prompt(Hook):
    """The head is a function of M context vectors v, shared by all classes or of each class's own.

        W_c = exp(s) g(start, v_1, ..., v_M, name of c, end),  g the frozen text tower, of unit length

    The vectors begin at the words that a template has before the name ("a photo of a"), so that training begins at its
    zero-shot head; the rest of the template stays behind the name. Nothing else trains: neither tower, nor the bias.

    Args:
        clip: whose `encode_text` is the text tower, with an embedding of tokens named `token_embedding`. It stays as it
            is.
        tokens: of every class in every template [C, T, L]; the first template with a word before the name is taken.
        own: whether each class has its own vectors.

    Raises:
        ConfigError: there is no such embedding, or no such template.

    Source: Zhou et al., Learning to prompt for vision-language models, IJCV 2022, section 3.2 (unified and
    class-specific context, initialised with words).
    """

    def __init__(self, clip: nn.Module, tokens: Tensor, own: bool = False) -> None:
        frozen = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in clip.parameters()}
        self._clip: Any = copy.deepcopy(clip, frozen)  # other modules over the same memory, which no gradient reaches
        self._embedding, self._own = token_embedding(self._clip), own
        self._tokens, self._words = with_words_in_front(tokens)

    def variables(self, pretrained: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The template's words as vectors [M, width], or [C, M, width] where each class has its own."""
        words: Tensor = self._embedding(self._tokens[:, 1 : 1 + self._words])
        return {CONTEXT: words if self._own else words[0]}

    def parameters(self, variables: Mapping[str, Tensor], pretrained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The head's weight [C, D]."""
        context = variables[CONTEXT]

        def replaced(module: nn.Module, args: Any, embedded: Tensor) -> Tensor:
            ours = context.to(embedded).expand(len(embedded), -1, -1)
            return torch.cat([embedded[:, :1], ours, embedded[:, 1 + self._words :]], dim=1)

        handle = self._embedding.register_forward_hook(replaced)
        try:
            weight = self._clip.encode_text(self._tokens, normalize=True) * self._clip.logit_scale.exp()
        finally:
            handle.remove()
        return {"head.weight": weight}


def token_embedding(clip: nn.Module) -> nn.Module:
    """The embedding of tokens in the text tower of `clip`.

    Raises:
        ConfigError: there is no text tower, or none with a module of this name.
    """
    embeddings: list[nn.Module] = [module for name, module in clip.named_modules() if name.endswith("token_embedding")]
    if not embeddings or not hasattr(clip, "encode_text"):
        raise _refused("this model has no text tower with a token_embedding", "a model of open_clip's own text tower")
    return embeddings[0]


def with_words_in_front(tokens: Tensor) -> tuple[Tensor, int]:
    """The tokens [C, L] of the first template with a word before the name, and the number of tokens of these words.

    They are what all classes begin with, after the token of the start; class names that begin with the same word lend
    it to the context.

    Raises:
        ConfigError: no template has any.
    """
    for caption in tokens.unbind(dim=1):
        alike = (caption == caption[:1]).all(dim=0)
        words = int(alike.long().cumprod(dim=0).sum()) - 1
        if words > 0:
            return caption, words
    raise _refused("no template has a word before it", "a template such as 'a photo of a {}'")


def _refused(what: str, allowed: str) -> ConfigError:
    found = f"'prompt' learns the words before a class's name, and {what}"
    return ConfigError([Fault("evaluation.methods", found, f"other methods, or {allowed}")])
