"""Fitted methods, each fitted once and shared with those that build on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from metaft.clip.classifier import Classifier
from metaft.finetune.settings import Cost, FitSettings


class Shelf(Protocol):
    """Where fitted classifiers are kept."""

    def take(self, name: str) -> Classifier | None:
        """A method's classifier, if it is there."""
        ...

    def put(self, name: str, model: Classifier) -> None:
        """Keep a method's classifier."""
        ...


@dataclass
class Memory:
    """A shelf for as long as it lives."""

    models: dict[str, Classifier] = field(default_factory=dict)

    def take(self, name: str) -> Classifier | None:
        """A method's classifier, if it is there."""
        return self.models.get(name)

    def put(self, name: str, model: Classifier) -> None:
        """Keep a method's classifier."""
        self.models[name] = model


class Fits:
    """Classifiers by method.

    Args:
        fit: fits a method of a name with settings.
        settings: of every fit.
        shelf: keeps what is fitted.
        costs: by method, each with what it stands on; filled as methods are fitted.
    """

    def __init__(
        self,
        fit: Callable[[str, FitSettings], Classifier],
        settings: FitSettings,
        shelf: Shelf,
        costs: dict[str, Cost] | None = None,
    ) -> None:
        self._fit, self._settings, self._shelf = fit, settings, shelf
        self.costs: dict[str, Cost] = {} if costs is None else costs

    def __call__(self, name: str) -> Classifier:
        """A method's classifier, fitted now if it has not been before."""
        found = self._shelf.take(name)
        if found is not None:
            return found
        cost, base, start, elsewhere = Cost(), Cost(), time.perf_counter(), 0.0

        def fitted(other: str) -> Classifier:
            nonlocal elsewhere
            before = time.perf_counter()
            model = self(other)
            elsewhere += time.perf_counter() - before
            base.add(self.costs.get(other, Cost()))
            return model

        model = self._fit(name, replace(self._settings, cost=cost, fitted=fitted))
        cost.seconds += time.perf_counter() - start - elsewhere
        cost.add(base)
        self.costs[name] = cost
        self._shelf.put(name, model)
        return model
