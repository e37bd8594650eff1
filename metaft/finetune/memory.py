"""What helps a fine-tune that runs out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from metaft import ranks
from metaft.clip.precision import AUTOCAST, served
from metaft.config.schema import FinetuneConfig
from metaft.errors import OutOfMemoryError, first_line, out_of_memory
from metaft.finetune.context import FitSettings


@contextmanager
def advised(name: str, settings: FitSettings) -> Iterator[None]:
    """A context in which memory that runs out is told of with the settings by which a fine-tune takes less.

    Raises:
        OutOfMemoryError: it has run out.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        now, anew = smaller(settings.finetune), lower(settings.finetune, torch.device(settings.device))
        ways = [*now, *(f"{word} in a new run" for word in anew)] or ["a smaller model"]
        found = f"{name}: memory ran out as it was fine-tuned ({first_line(error)})"
        raise OutOfMemoryError(f"{found}; allowed: {', '.join(ways)}", now) from error


def smaller(how: FinetuneConfig) -> list[str]:
    """The settings, as words, by which a training that goes on takes less memory than by these."""
    return [
        *([f"finetune.accumulate={2 * how.accumulate}"] if 2 * how.accumulate <= how.batch_size else []),
        *([] if how.checkpointing else ["finetune.checkpointing=true"]),
        *(["finetune.shard=true"] if ranks.count() > 1 and not how.shard else []),
    ]


def lower(how: FinetuneConfig, device: torch.device) -> list[str]:
    """The precision, as a word, in which activations take half the memory; none where they do already."""
    able = [precision for precision in AUTOCAST if precision in served(device)]
    return [] if how.precision in AUTOCAST or not able else [f"finetune.precision={able[0]}"]
