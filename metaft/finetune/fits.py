"""Fitted methods, each fitted once and shared with those that build on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from metaft.clip.classifier import Classifier
from metaft.finetune.settings import Cost, FitSettings

Fitted = tuple[Classifier, Cost]


class Shelf(Protocol):
    """Where fitted classifiers are kept, each with what it took."""

    def take(self, name: str) -> Fitted | None:
        """What is kept of a method, if it is there."""
        ...

    def put(self, name: str, model: Classifier, cost: Cost) -> None:
        """Keep a method's classifier."""
        ...


@dataclass
class Memory:
    """A shelf for as long as it lives."""

    kept: dict[str, Fitted] = field(default_factory=dict)

    def take(self, name: str) -> Fitted | None:
        """What is kept of a method, if it is there."""
        return self.kept.get(name)

    def put(self, name: str, model: Classifier, cost: Cost) -> None:
        """Keep a method's classifier."""
        self.kept[name] = model, cost


class Fits:
    """Classifiers by method.

    Args:
        fit: fits a method of a name with settings.
        settings: of every fit.
        shelf: keeps what is fitted.
    """

    def __init__(
        self, fit: Callable[[str, FitSettings], Classifier], settings: FitSettings, shelf: Shelf | None = None
    ) -> None:
        self._fit, self._settings, self._shelf = fit, settings, shelf or Memory()

    def __call__(self, name: str) -> Fitted:
        """A method's classifier, fitted now if it has not been before, and its cost with what it stands on."""
        found = self._shelf.take(name)
        if found is not None:
            return found
        cost, base, start, elsewhere = Cost(), Cost(), time.perf_counter(), 0.0

        def fitted(other: str) -> Classifier:
            nonlocal elsewhere
            before = time.perf_counter()
            model, own = self(other)
            elsewhere += time.perf_counter() - before
            base.add(own)
            return model

        model = self._fit(name, replace(self._settings, cost=cost, fitted=fitted))
        cost.seconds += time.perf_counter() - start - elsewhere
        cost.add(base)
        self._shelf.put(name, model, cost)
        return model, cost

    def model(self, name: str) -> Classifier:
        """The classifier alone."""
        return self(name)[0]
