"""Some of the parameters move, the others stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metaft.hooks.hook import Hook


class Chosen(Hook):
    """Only the named parameters are the optimizer's; no gradient, momentum or weight decay reaches the others."""

    entrywise = True

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def variables(self, pretrained: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The named parameters as they are."""
        return {name: pretrained[name] for name in self._names}
