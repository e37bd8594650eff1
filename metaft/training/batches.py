"""Training batches: images, labels, a caption each, and theta_0's outputs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import accumulate, islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.clip.classifier import Outputs
from metaft.data.ahead import ahead
from metaft.data.rows import WHOLE, Share, overlap, read
from metaft.data.types import Split
from metaft.names import Name
from metaft.objective.state import SourceState, StepState
from metaft.training.augment import Augment
from metaft.training.reference import Reference


class SourceBatch(NamedTuple):
    """Images [B, 3, S, S] and labels [B] of a further source, and the factor of the mean loss on them."""

    images: Tensor
    labels: Tensor
    share: float = 1.0


class TrainBatch(NamedTuple):
    """Images [B, 3, S, S], labels [B], caption tokens [B, L] or None, and theta_0's outputs on demand.

    `seed` is the seed of dropout on this batch, so that a step on it can be repeated; `pace` is the factor of the
    learning rate in the step; `sources` are images of further sources by name; `last` says that a loop ends with it.
    """

    images: Tensor
    labels: Tensor
    tokens: Tensor | None
    reference: Callable[[], tuple[Tensor, Tensor]] | None
    seed: int | None = None
    pace: float = 1.0
    sources: Mapping[str, SourceBatch] = {}
    last: bool = False

    @property
    def all_images(self) -> Tensor:
        """The images and those of every further source, in this order: one forward pass."""
        if not self.sources:
            return self.images
        return torch.cat([self.images, *(source.images for source in self.sources.values())])

    def with_head(self, weight: Tensor, bias: Tensor) -> TrainBatch:
        """The same batch beside a theta_0 with another last layer, of weight [C, D] and bias [C]."""
        of_batch = self.reference
        if of_batch is None:
            return self

        def reference() -> tuple[Tensor, Tensor]:
            _, features = of_batch()
            return F.linear(features, weight, bias), features

        return self._replace(reference=reference)

    def observe(self, out: Outputs, params: dict[str, Tensor], pretrained: dict[str, Tensor]) -> StepState:
        """The state a term sees, from the model's outputs on `all_images`."""
        sizes = [len(self.labels), *(len(source.labels) for source in self.sources.values())]
        logits, *others = out.logits.split(sizes)
        return StepState(
            logits=logits,
            image_features=out.image_features[: len(self.labels)],
            labels=self.labels,
            text_features=out.text_features,
            logit_scale=out.logit_scale,
            reference=self.reference,
            params=params,
            pretrained=pretrained,
            sources={
                name: SourceState(logits, source.labels, source.share)
                for (name, source), logits in zip(self.sources.items(), others, strict=True)
            },
        )

    def paced(self, h: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hyperparameters with their learning rates multiplied by the batch's pace."""
        if self.pace == 1:
            return h
        return {key: self.pace * value if Name.parse(key).base == "lr" else value for key, value in h.items()}

    def parts(self, count: int) -> list[tuple[float, TrainBatch]]:
        """The batch cut into at most `count` parts, each with its share of the images."""
        if count == 1:
            return [(1.0, self)]
        b, whole = len(self.labels), self if self.reference is None else self._replace(reference=cache(self.reference))
        chunks = torch.arange(b).chunk(count)
        return [(len(rows) / b, whole._part(i, rows, len(chunks))) for i, rows in enumerate(chunks)]

    def _part(self, number: int, rows: Tensor, count: int) -> TrainBatch:
        of_batch, part = self.reference, slice(int(rows[0]), int(rows[-1]) + 1)
        share = len(rows) / len(self.labels)

        def reference() -> tuple[Tensor, Tensor]:
            assert of_batch is not None
            logits, features = of_batch()
            return logits[part], features[part]

        return TrainBatch(
            self.images[part],
            self.labels[part],
            None if self.tokens is None else self.tokens[part],
            None if of_batch is None else reference,
            None if self.seed is None else self.seed + number,
            self.pace,
            {
                name: _source_part(source, number, count, share)
                for name, source in self.sources.items()
                if number < len(source.labels)
            },
            self.last,
        )


def _source_part(source: SourceBatch, number: int, count: int, share: float) -> SourceBatch:
    """One of `count` parts, whose mean loss times `share` adds up to that of the whole over the parts."""
    rows = torch.arange(len(source.labels)).tensor_split(count)[number]
    part = len(rows) / len(source.labels)
    return SourceBatch(source.images[rows], source.labels[rows], source.share * part / share)


def source_size(size: int) -> int:
    """The number of images of each further source beside `size` of id_train."""
    return max(1, size // 2)


class _Drawn(NamedTuple):
    """Images of a split by number [B], and the seed of what is random about them."""

    split: Split
    rows: Tensor
    seed: int


def _drawn(splits: Sequence[Split], indices: Tensor, seed: int) -> list[_Drawn]:
    """The images of a batch: these of the first split, and half as many of each other.

    The others' are drawn with replacement between batches, and without within one.
    """
    drawn, size = [_Drawn(splits[0], indices, seed)], source_size(len(indices))
    for number, split in enumerate(splits[1:]):
        own = (seed + 1 + number) % 2**63
        generator = torch.Generator().manual_seed(own)
        rows = torch.cat([torch.randperm(len(split), generator=generator) for _ in range(-(-size // len(split)))])
        drawn.append(_Drawn(split, rows[:size], own))
    return drawn


def _pixels(splits: Sequence[Split], draws: Sequence[tuple[Tensor, int]], share: Share, number: int) -> list[Tensor]:
    """The pixels of the images that a batch has of each split; picklable, as processes call it."""
    drawn = _drawn(splits, *draws[number])
    sizes = [len(one.rows) for one in drawn]
    own, ends = share.rows(sum(sizes), least=sizes[0]), accumulate(sizes)
    return [
        read(one.split.source, one.rows.tolist(), overlap(own, end - size, size))
        for one, size, end in zip(drawn, sizes, ends, strict=True)
    ]


@dataclass(frozen=True)
class TrainBatches:
    """Batches of id_train and of further sources.

    Args:
        tokens: [C, M, L]; None where no term needs captions.
        sources: by name; each adds half as many images to a batch.
        augment: of all images of a batch; theta_0's outputs are those on the images as they are.
    """

    split: Split
    tokens: Tensor | None
    reference: Reference
    device: torch.device | str
    sources: Mapping[str, Split] = field(default_factory=dict)
    augment: Augment | None = None

    def images(self, size: int) -> int:
        """The number of images in a batch with `size` images of id_train."""
        return size + len(self.sources) * source_size(size)

    @property
    def splits(self) -> tuple[Split, ...]:
        """id_train, and the further sources in their order."""
        return self.split, *self.sources.values()

    def take(self, indices: Tensor, seed: int, pixels: Sequence[Tensor | None] | None = None) -> TrainBatch:
        """The images of these numbers, each with a caption in a random template; the same seed gives the same batch.

        Args:
            pixels: of the images of each split (see `_drawn`), where they are read already.
        """
        drawn = _drawn(self.splits, indices, seed)
        (images, labels), *others = map(self._loaded, drawn, pixels or [None] * len(drawn))
        tokens = None
        if self.tokens is not None:
            generator = torch.Generator().manual_seed(seed)
            pick = torch.randint(self.tokens.shape[1], (len(indices),), generator=generator)
            tokens = self.tokens[labels, pick.to(labels.device)]
        sources = {name: SourceBatch(*found) for name, found in zip(self.sources, others, strict=True)}
        return TrainBatch(images, labels, tokens, lambda: self.reference(indices), seed, sources=sources)

    def _loaded(self, drawn: _Drawn, pixels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images of a split, augmented, and their labels."""
        batch = drawn.split.batch(drawn.rows, self.device, pixels)
        return batch.images if self.augment is None else self.augment(batch.images, drawn.seed), batch.labels

    def drawn(
        self, count: int, size: int, generator: torch.Generator, paces: Sequence[float] | None = None
    ) -> DrawnBatches:
        """`count` batches, drawn now but loaded each time one is asked for, and the pace of each (1 without any).

        Every image comes once before any comes again; a last smaller batch is left out.
        """
        return DrawnBatches(self, tuple(islice(self._draws(size, generator), count)), tuple(paces or [1.0] * count))

    def _draws(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, int]]:
        size = min(size, len(self.split))
        while True:
            order = torch.randperm(len(self.split), generator=generator)
            for indices in order.split(size):
                if len(indices) == size:
                    yield indices, int(torch.randint(2**62, (), generator=generator))


@dataclass(frozen=True)
class DrawnBatches(Sequence[TrainBatch]):
    """Batches by number that take no memory until they are loaded, so that a step can be repeated later."""

    source: TrainBatches
    draws: tuple[tuple[Tensor, int], ...]
    paces: tuple[float, ...]
    ends: bool = True  # whether the loop ends with the last of them

    def __len__(self) -> int:
        return len(self.draws)

    @property
    def images(self) -> int:
        """The number of images in a batch, those of further sources included."""
        return self.source.images(len(self.draws[0][0])) if self.draws else 0

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            numbers = range(len(self))[number]
            ends = self.ends and len(numbers) > 0 and numbers[-1] == len(self) - 1
            return DrawnBatches(self.source, self.draws[number], self.paces[number], ends)
        return self._made(number)

    def following(self, first: int, share: Share = WHOLE) -> Generator[TrainBatch]:
        """The batches from a number on; pictures that are not kept are decoded ahead, as the splits say.

        Args:
            share: who reads the images of its own rows of `all_images` alone, since it looks at no others.
        """
        splits, numbers = self.source.splits, range(first, len(self))
        readers = max(split.readers for split in splits)
        coming = ahead(partial(_pixels, splits, self.draws, share), numbers, readers, self.source.device)
        for number, pixels in zip(numbers, coming, strict=True):
            yield self._made(number, pixels)

    def _made(self, number: int, pixels: Sequence[Tensor] | None = None) -> TrainBatch:
        last = self.ends and number in (-1, len(self) - 1)
        return self.source.take(*self.draws[number], pixels)._replace(pace=self.paces[number], last=last)
