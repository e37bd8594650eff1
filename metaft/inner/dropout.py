"""Modules in training mode within an inner step: they draw from the batch's seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from metaft.errors import ConfigError, Fault
from metaft.training.batches import TrainBatch


class Dropout:
    """The modules of a model that are in training mode as it is taken over; they are so only while it runs on a batch.

    Args:
        model: it is switched to evaluation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._active = [module for module in model.modules() if module.training]
        self._switch(False)
        self._steady = not self._active  # whether running the model is known to change nothing in it

    @property
    def draws(self) -> bool:
        """Whether there are any."""
        return bool(self._active)

    @contextmanager
    def drawn(self, batch: TrainBatch) -> Iterator[None]:
        """Training mode, on randomness that is a function of the batch's seed.

        Raises:
            ConfigError: the first time, if buffers change as the model runs.
            ValueError: the batch has no seed, and there is something to draw.
        """
        if not self._active:
            yield
            return
        if batch.seed is None:
            raise ValueError("batch.seed: missing; allowed: a whole number, as the model has parts in training mode")
        before = None if self._steady else {name: b.clone() for name, b in self._model.named_buffers()}
        device = batch.images.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(batch.seed)
            self._switch(True)
            try:
                yield
            finally:
                self._switch(False)
        if before is not None:
            self._refuse_changes(before)

    def _refuse_changes(self, before: Mapping[str, Tensor]) -> None:
        """Refuse a model whose buffers change as it runs: a repeated step would give another result."""
        now = dict(self._model.named_buffers())
        changed = [name for name, buffer in before.items() if not torch.equal(buffer, now[name])]
        if changed:
            moving = f"{', '.join(changed)} changes as the model runs in training mode"
            raise ConfigError([Fault("model", moving, "training mode for dropout alone")])
        self._steady = True

    def _switch(self, training: bool) -> None:
        for module in self._active:
            module.training = training
