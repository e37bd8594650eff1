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
    """A fitted classifier and what it took, with what it stands on."""

    model: Classifier
    cost: Cost


class Store(Protocol):
    """Where fitted classifiers are kept."""

    def take(self, name: str) -> Fit | None:
        """What is kept of a method, if it is there."""
        ...

    def put(self, name: str, fit: Fit) -> None:
        """Keep a method's classifier."""
        ...


@dataclass
class Memory:
    """A store for as long as it lives."""

    kept: dict[str, Fit] = field(default_factory=dict)

    def take(self, name: str) -> Fit | None:
        """What is kept of a method, if it is there."""
        return self.kept.get(name)

    def put(self, name: str, fit: Fit) -> None:
        """Keep a method's classifier."""
        self.kept[name] = fit


@dataclass(frozen=True)
class Fits:
    """Classifiers by method.

    Args:
        fit: fits the method of a name in a context.
        context: of every fit; its bill is a new one each time, and `fitted` leads back here.
        store: keeps what is fitted.
    """

    fit: FitMethod
    context: FitContext
    store: Store = field(default_factory=Memory)

    def __call__(self, name: str) -> Fit:
        """A method's classifier, fitted now if it has not been before, and its cost with what it stands on."""
        kept = self.store.take(name)
        if kept is not None:
            return kept
        cost, base, start, elsewhere = Cost(), Cost(), time.perf_counter(), 0.0

        def fitted(other: str) -> Classifier:
            nonlocal elsewhere
            before = time.perf_counter()
            needed = self(other)
            elsewhere += time.perf_counter() - before
            base.add(needed.cost)
            return needed.model

        model = self.fit(name, replace(self.context, cost=cost, fitted=fitted))
        cost.seconds += time.perf_counter() - start - elsewhere
        cost.add(base)
        self.store.put(name, Fit(model, cost))
        return Fit(model, cost)

    def model(self, name: str) -> Classifier:
        """The classifier alone."""
        return self(name).model
