"""What judges the inner runs of a problem: outer sets by fold, the loss on them, and the ID accuracy to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from metaft.config.schema import OuterConfig
from metaft.data.types import Domains, Split
from metaft.metrics import METRICS
from metaft.search.problem.outer import Floor, Judgement
from metaft.search.registry import AUTO, OUTER_LOSSES, OuterLoss

Model = Callable[[Tensor], Tensor]  # of images [B, 3, S, S], to logits [B, C]
Judged = tuple[Tensor, Tensor, Judgement]  # images, labels, and the loss on them


def judgement_of(
    split: Split, settings: OuterConfig, rows: Tensor | slice = slice(None), device: torch.device | str = "cpu"
) -> Judgement:
    """The outer loss of settings, and their metric, on images of a split, all or those of some rows.

    A loss left to a metric of groups is the worst over them, whatever `outer_domains` is.
    """
    metric, sought = METRICS[settings.metric], settings.outer_loss == AUTO and METRICS[settings.metric].by_group

    def numbers(parts: Domains | None) -> Tensor | None:
        return None if parts is None else parts.numbers[rows].to(device)

    how, parts = ("worst", split.told_apart) if sought else (settings.outer_domains, split.domains)
    judgement = Judgement.over(outer_loss(settings), how, numbers(parts))
    groups = numbers(split.told_apart)
    return replace(judgement, metric=lambda logits, labels: metric(logits, labels, groups))


def outer_loss(settings: OuterConfig) -> OuterLoss:
    """The outer loss that settings name, or that their metric is sought by."""
    return OUTER_LOSSES[named_loss(settings)]


def named_loss(settings: OuterConfig) -> str:
    """The name of the outer loss."""
    sought_by = METRICS[settings.metric].sought_by
    assert sought_by is not None, "`build.check` has refused other metrics"
    return sought_by if settings.outer_loss == AUTO else settings.outer_loss


@dataclass(frozen=True)
class Judging:
    """Outer batches and their loss.

    Args:
        outer_sets: by fold.
        id_val: the ID validation set.
        settings: the loss; at most `outer_batch_size` images make one outer evaluation. ID validation accuracy may be
            below plain fine-tuning's by `id_drop_max` (a share); a larger drop is added to the outer loss at a price.
        plain: the plainly fine-tuned model; asked for where `id_drop_max` is set.
        device: where batches are to be.
    """

    outer_sets: Sequence[Split]
    id_val: Split
    settings: OuterConfig
    plain: Model
    device: torch.device | str = "cpu"

    @property
    def most(self) -> int:
        """The number of images in the largest outer set."""
        return max(map(len, self.outer_sets))

    def whole(self, fold: int) -> Judged:
        """All images of a fold's outer set."""
        return self._of(self.outer_sets[fold], torch.arange(len(self.outer_sets[fold])))

    def drawn(self, fold: int, generator: torch.Generator) -> Judged:
        """A fold's outer set, or a random part of it."""
        return self._of(self.outer_sets[fold], self._rows(self.outer_sets[fold], generator))

    @cached_property
    def floor(self) -> Floor | None:
        """The ID accuracy to keep; None where there is no limit."""
        return self.floor_under(self.plain)

    def floor_under(self, model: Model) -> Floor | None:
        """The ID accuracy to keep with a model as the measure; None where there is no limit."""
        if self.settings.id_drop_max is None:
            return None
        rows = self._rows(self.id_val, torch.Generator().manual_seed(0))
        batch = self.id_val.batch(rows, self.device)
        slope = outer_loss(self.settings).slope
        return Floor.under(batch.images, batch.labels, model(batch.images), self.settings.id_drop_max, slope)

    def _of(self, split: Split, rows: Tensor) -> Judged:
        batch = split.batch(rows, self.device)
        return batch.images, batch.labels, judgement_of(split, self.settings, rows, self.device)

    def _rows(self, split: Split, generator: torch.Generator) -> Tensor:
        """The numbers of the images that make one outer evaluation."""
        return torch.randperm(len(split), generator=generator)[: self.settings.outer_batch_size].sort().values
