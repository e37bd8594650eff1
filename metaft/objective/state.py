"""What a loss term sees of one training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor


class SourceState(NamedTuple):
    """Logits [B, C] and labels [B] of images of a further source, and the factor of the mean loss on them."""

    logits: Tensor
    labels: Tensor
    share: float = 1.0


class InPartsError(Exception):
    """A term has looked at parameters of which each rank holds a part."""


class InParts(Mapping[str, Tensor]):
    """Parameters of which each rank holds a part, so that no term may look at them."""

    def _refuse(self, *_: object) -> NoReturn:
        raise InPartsError

    __getitem__ = __iter__ = __len__ = _refuse


@dataclass(frozen=True)
class StepState:
    """One step's outputs and parameters; B samples, C classes, D feature dimensions.

    `reference` is called at most once, and only by a term that needs theta_0's outputs on the same batch. `sources` are
    what the model makes of images of further sources, by name; terms do not look at them.

    Raises:
        ValueError: a tensor of another shape, or labels that are not int64.
    """

    logits: Tensor  # [B, C]
    image_features: Tensor  # [B, D], unit length
    labels: Tensor  # [B], int64
    text_features: Tensor | None = None  # [B, D], unit length: one caption per image
    logit_scale: Tensor = field(default_factory=lambda: torch.tensor(1.0))  # the factor itself, not its logarithm
    reference: Callable[[], tuple[Tensor, Tensor]] | None = None  # theta_0's logits [B, C] and features [B, D]
    params: Mapping[str, Tensor] = field(default_factory=dict)
    pretrained: Mapping[str, Tensor] = field(default_factory=dict)
    sources: Mapping[str, SourceState] = field(default_factory=dict)

    @classmethod
    def without_images(cls, params: Mapping[str, Tensor], pretrained: Mapping[str, Tensor]) -> StepState:
        """What penalties look at: parameters, and one sample that stands for none."""
        one = next(iter(params.values())).new_zeros(1, 1)
        labels = torch.zeros(1, dtype=torch.int64, device=one.device)
        return cls(one, one, labels, params=params, pretrained=pretrained)

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or len(self.logits) == 0:
            raise ValueError(f"logits: shape {_shape(self.logits)}; allowed: [B, C] with B > 0")
        b = len(self.logits)
        if self.labels.shape != (b,) or self.labels.dtype != torch.int64:
            raise ValueError(f"labels: shape {_shape(self.labels)}, {self.labels.dtype}; allowed: [{b}], torch.int64")
        if self.image_features.ndim != 2 or len(self.image_features) != b:
            raise ValueError(f"image_features: shape {_shape(self.image_features)}; allowed: [{b}, D]")
        if self.text_features is not None and self.text_features.shape != self.image_features.shape:
            shape = _shape(self.text_features)
            raise ValueError(f"text_features: shape {shape}; allowed: {_shape(self.image_features)}")
        twinned = {} if isinstance(self.params, InParts) else self.params
        for name, p in twinned.items():
            if name not in self.pretrained or self.pretrained[name].shape != p.shape:
                raise ValueError(f"pretrained: no {name!r} of shape {_shape(p)}; allowed: a twin of every parameter")

    @cached_property
    def _reference(self) -> tuple[Tensor, Tensor]:
        if self.reference is None:
            raise ValueError("reference: missing; allowed: theta_0's logits and features")
        logits, features = self.reference()
        if logits.shape != self.logits.shape:
            raise ValueError(f"reference logits: shape {_shape(logits)}; allowed: {_shape(self.logits)}")
        return logits, features

    @property
    def reference_logits(self) -> Tensor:
        """theta_0's logits [B, C]."""
        return self._reference[0]

    @property
    def reference_features(self) -> Tensor:
        """theta_0's image features [B, D]."""
        return self._reference[1]


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
