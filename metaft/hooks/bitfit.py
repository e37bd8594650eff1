"""BitFit: biases move, and the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.chosen import Chosen
from metaft.hooks.hook import Hook
from metaft.hooks.patterns import is_of_head


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """All biases, those of normalisation included, and the head, which is the task's.

    Raises:
        ConfigError: there is no bias outside the head.

    Source: Ben Zaken, Ravfogel and Goldberg, BitFit, ACL 2022, section 3.
    """
    biases = [name for name in names if name.endswith("bias") and not is_of_head(name)]
    if not biases:
        biasless = "'bitfit' trains biases, and this model has none to train outside its head"
        raise ConfigError([Fault("evaluation.methods", biasless, "other methods, or a model with biases")])
    return Chosen([*biases, *filter(is_of_head, names)])
