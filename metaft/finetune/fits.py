"""Fitted methods, each fitted once and shared with those that build on it; on folds of ood_val too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.cost import Cost
from metaft.data.types import Split
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext, Keeper
from metaft.finetune.crossfit import Apart, Judged, judge
from metaft.finetune.methods import METHODS

FitMethod = Callable[[str, Split, FitContext], Classifier]


@dataclass(frozen=True)
class Fit:
    """A fitted classifier.

    Args:
        costs: its own cost, and those of the fits that it builds on, each by name.
        chosen: what it has chosen on validation data, such as the values of its knobs.
    """

    model: Classifier
    costs: Mapping[str, Cost] = field(default_factory=dict)
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """Its cost, fits that it builds on included, each once."""
        total = Cost()
        for cost in self.costs.values():
            total.add(cost)
        return total


class BusyFitError(Exception):
    """Another process is making a fit that is asked for."""


class Store(Protocol):
    """Where fitted classifiers are kept."""

    def held(self, name: str, wait: bool) -> AbstractContextManager[None]:
        """A context in which no other process makes the fit of this name, where several share what is stored.

        Args:
            wait: for another that does; otherwise that is a `BusyFitError`.
        """
        ...

    def take(self, name: str) -> Fit | None:
        """The stored fit of this name, or None."""
        ...

    def put(self, name: str, fit: Fit) -> None:
        """Store a fit under a name."""
        ...


@dataclass
class Memory:
    """A store in memory, gone with the object."""

    kept: dict[str, Fit] = field(default_factory=dict)

    def held(self, name: str, wait: bool) -> AbstractContextManager[None]:
        """No other process sees what is in memory."""
        return nullcontext()

    def take(self, name: str) -> Fit | None:
        """The stored fit of this name, or None."""
        return self.kept.get(name)

    def put(self, name: str, fit: Fit) -> None:
        """Store a fit under a name."""
        self.kept[name] = fit


@dataclass
class Asked:
    """What has been asked of an object: the costs of fits by name, and the seconds until they were there."""

    costs: dict[str, Cost] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Renamed:
    """A keeper that keeps the trainings of a method, `old` or `old.PART`, under another name."""

    keeper: Keeper
    old: str
    new: str

    @property
    def keeps(self) -> bool:
        """Whether what is saved can be loaded."""
        return self.keeper.keeps

    def load(self, name: str) -> dict[str, Any] | None:
        """The state saved last under a name; None: there is none."""
        return self.keeper.load(_renamed(name, self.old, self.new))

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Keep a copy of a state of tensors and plain values, in place of the last one of this name."""
        self.keeper.save(_renamed(name, self.old, self.new), state)

    def drop(self, name: str) -> None:
        """Keep nothing under a name any more."""
        self.keeper.drop(_renamed(name, self.old, self.new))

    def retain(self, name: str, step: int, model: Classifier, most: int) -> None:
        """Keep the model of a check for good, as one of the last `most` of the training of this name."""
        self.keeper.retain(_renamed(name, self.old, self.new), step, model, most)


@dataclass(frozen=True)
class Fits:
    """Classifiers by method.

    Args:
        fit: (name, images to take for ood_val, context) to the method's classifier.
        context: of every fit, but for its `cost` and `chosen`, new each time, and `fitted`, `apart` and `judged`,
            which ask this object.
        ood_val: the images that cross-fitting takes apart.
        store: keeps what is fitted; a fit on a fold is kept as NAME.fold0, NAME.fold1, ...
        fold: the fold on whose fitting part methods that train on ood_val are fitted; None: on all of ood_val.
        labels: under which other name the fits and trainings of a method are kept.
        asked: takes note of what this object is asked for.
        patient: whether a fit that another process is making is waited for; otherwise that is a `BusyFitError`.
        helpers: make fits for the store in other processes, given this object and names of methods.
    """

    fit: FitMethod
    context: FitContext
    ood_val: Split
    store: Store = field(default_factory=Memory)
    fold: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    patient: bool = True
    helpers: Callable[[Fits, Sequence[str]], None] = lambda fits, names: None

    def __call__(self, name: str) -> Fit:
        """A method's classifier, fitted unless it is stored, with its cost and what it has chosen."""
        start, label = time.perf_counter(), self._label(name)
        fit = self.store.take(label)
        if fit is None:
            with self.store.held(label, self.patient):
                fit = self.store.take(label)  # which another process may have made meanwhile
                if fit is None:
                    fit = self._fitted(name, label)
                    self.store.put(label, fit)
        self.asked.costs.update(fit.costs)
        self.asked.seconds += time.perf_counter() - start
        return fit

    def model(self, name: str) -> Classifier:
        """A method's classifier alone."""
        return self(name).model

    def apart(self, name: str) -> list[Apart] | None:
        """A method's models, each with images of ood_val that it was not trained on, together all of ood_val.

        One that does not train on ood_val has one model for all of them. Another has one for each fold, fitted with
        what it has chosen on all of ood_val. None: ood_val cannot be split, or a fit on a part of it diverges.
        """
        if not METHODS[name].fits_ood_val(self.context.settings):
            return [Apart(self.model(name), self.ood_val, torch.arange(len(self.ood_val)))]
        try:
            models = [replace(self, fold=number).model(name) for number in self.folds_of(name)]
        except DivergedError:
            return None
        judging = [rows for _, rows in self._rows()]
        return [Apart(m, self.ood_val.subset(r), r) for m, r in zip(models, judging, strict=True)] or None

    def judged(self, name: str) -> Judged | None:
        """What a method's models say of the images of ood_val that they were not trained on; None as for `apart`.

        A method whose choice is another method is judged as that one.
        """
        parts, settings = self.apart(self(name).chosen.get("method", name)), self.context.settings
        return None if parts is None else judge(parts, settings.eval_batch_size, settings.device)

    def folds_of(self, name: str) -> range:
        """The numbers of the folds on which a method is fitted, too, to be judged; none where one model is for all."""
        return range(len(self._rows()) if METHODS[name].fits_ood_val(self.context.settings) else 0)

    def within(self) -> FitContext:
        """The context in which a fit, or what judges fits, can ask for others."""
        return replace(self.context, fitted=self.model, apart=self.apart, judged=self.judged)

    def aside(self, old: str, new: str) -> Fits:
        """The same, but that fits and trainings of a method are kept under another name."""
        return replace(self, labels={**self.labels, old: new})

    def share(self, old: str, new: str) -> None:
        """Keep a method's fits, on folds too, under the name of another, which would train them all over again."""
        for label in (old, *(f"{old}.fold{number}" for number in range(len(self._rows())))):
            fit = self.store.take(label)
            if fit is not None:
                self.store.put(_renamed(label, old, new), Fit(fit.model, fit.costs))

    def _label(self, name: str) -> str:
        label, fold = self.labels.get(name, name), self._fold_of(name)
        return label if fold is None else f"{label}.fold{fold}"

    def _fold_of(self, name: str) -> int | None:
        """The fold on whose fitting part a method is fitted; None: it is fitted whole."""
        return self.fold if METHODS[name].fits_ood_val(self.context.settings) else None

    def _fitted(self, name: str, label: str) -> Fit:
        start, others, ood_val = time.perf_counter(), replace(self, asked=Asked()), self.ood_val
        context = replace(others.within(), cost=Cost(), chosen={})
        fold = self._fold_of(name)
        if fold is not None:
            ood_val = ood_val.subset(self._rows()[fold][0])
            context = context.with_knobs(name, replace(others, fold=None)(name).chosen)
        if label != name:
            context = _labelled(context, name, label)
        model = self.fit(name, ood_val, context)
        context.cost.seconds += time.perf_counter() - start - others.asked.seconds
        return Fit(model, {**others.asked.costs, label: context.cost}, context.chosen)

    def _rows(self) -> list[tuple[Tensor, Tensor]]:
        return self.context.rows_by_fold(self.ood_val)


def _labelled(context: FitContext, name: str, label: str) -> FitContext:
    """The context of a method's fit whose states and events go by a label."""
    keeper = Renamed(context.keeper, name, label)
    return replace(context, keeper=keeper, log=lambda event: context.log({**event, "method": label}))


def _renamed(name: str, old: str, new: str) -> str:
    """NEW or NEW.PART for OLD or OLD.PART; any other name as it is."""
    return new + name.removeprefix(old) if name.partition(".")[0] == old else name
