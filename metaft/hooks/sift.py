"""SIFT: the entries with the largest first gradients move, as many in every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.hook import Hook
from metaft.hooks.patterns import Only, included, is_of_head
from metaft.hooks.sparse import Sparse, largest_of_each


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """Of each tensor the share with the largest |d L_1 / d p| moves, and all of the head and of what is excluded.

    The authors' code spends the first batch on the choice; here its gradient is descended too. Knob: `per_mille`, the
    entries of a thousand that move.

    Raises:
        ConfigError: nothing but the head is left to choose from.

    Source: Song et al., Sparse is enough in fine-tuning pre-trained large language models, ICML 2024.
    """
    numbers = [i for i in included(names, settings.exclude) if not is_of_head(names[i])]
    if not numbers:
        headed = "'sift' chooses entries of tensors outside the head, and none of these is to be trained here"
        raise ConfigError(
            [Fault("evaluation.methods", headed, "other methods, or fewer parameters frozen or excluded")]
        )
    return Only(Sparse(partial(largest_of_each, per_mille=knobs["per_mille"])), numbers)
