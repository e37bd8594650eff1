"""Fitted methods, each fitted once and shared with those that build on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from metaft.clip.classifier import Classifier
from metaft.cost import Cost
from metaft.finetune.context import FitContext

FitMethod = Callable[[str, FitContext], Classifier]


@dataclass(frozen=True)
class Fit:
    """A fitted classifier and its cost, methods that it builds on included."""

    model: Classifier
    cost: Cost


class Store(Protocol):
    """Where fitted classifiers are kept."""

    def take(self, name: str) -> Fit | None:
        """The stored fit of a method, or None."""
        ...

    def put(self, name: str, fit: Fit) -> None:
        """Store the fit of a method."""
        ...


@dataclass
class Memory:
    """A store in memory, gone with the object."""

    kept: dict[str, Fit] = field(default_factory=dict)

    def take(self, name: str) -> Fit | None:
        """The stored fit of a method, or None."""
        return self.kept.get(name)

    def put(self, name: str, fit: Fit) -> None:
        """Store the fit of a method."""
        self.kept[name] = fit


@dataclass(frozen=True)
class Fits:
    """Classifiers by method.

    Args:
        fit: (name, context) to the method's classifier.
        context: of every fit, but for `cost`, new each time, and `fitted`, which calls this object.
        store: keeps what is fitted.
    """

    fit: FitMethod
    context: FitContext
    store: Store = field(default_factory=Memory)

    def __call__(self, name: str) -> Fit:
        """A method's classifier, fitted unless it is stored, and its cost, methods that it builds on included."""
        kept = self.store.take(name)
        if kept is not None:
            return kept
        cost, needed_cost, start, needed_seconds = Cost(), Cost(), time.perf_counter(), 0.0

        def fitted(other: str) -> Classifier:
            nonlocal needed_seconds
            before = time.perf_counter()
            needed = self(other)
            needed_seconds += time.perf_counter() - before
            needed_cost.add(needed.cost)
            return needed.model

        model = self.fit(name, replace(self.context, cost=cost, fitted=fitted))
        cost.seconds += time.perf_counter() - start - needed_seconds
        cost.add(needed_cost)
        self.store.put(name, Fit(model, cost))
        return Fit(model, cost)

    def model(self, name: str) -> Classifier:
        """A method's classifier, without its cost."""
        return self(name).model
