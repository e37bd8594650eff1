"""Hypergradients from first-order gradients: second derivatives as differences along the adjoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from metaft.config.limits import WIDEST
from metaft.config.schema import HypergradConfig, StorageConfig
from metaft.errors import ConfigError, Fault
from metaft.inner.expansion import (
    Expansion,
    Seen,
    by_hyperparameter,
    expansions,
    moved_beside,
    seen_at,
    seen_beside,
)
from metaft.inner.loop import Estimator, Gradients, HalvedStep, Loop, Trace
from metaft.inner.spacing import Ruler, least_error, usual
from metaft.inner.state import State
from metaft.inner.storage import planned
from metaft.inner.sweep import Shelf, Tape, Turn, swept
from metaft.tensors import Tensors, used_up, with_zeros

TRIED = 10  # steps of a loop, its last, on which spacings are tried
SMALL = 0.01  # the largest relative error for which one side is enough
USELESS = 0.5  # the relative error from which no spacing will do


@dataclass(frozen=True)
class Differences(Estimator):
    """The hypergradient by a reverse sweep in which nothing is differentiated twice but the optimizer.

    A step is theta' = U(state, g, h), g = J^T c with the slopes c = dL/dz of the losses by the model's outputs z. U
    (AdamW, penalties, hooks) and L need no model and are differentiated exactly, with their kinks. The model is gone
    through once forwards and once backwards at two points beside theta, along the adjoint a of g:

        z' = (z(theta + e a) - z(theta - e a)) / (2 e) + O(e^2)                          d <g, a> / d h = <dc/dh, z'>
        d <g, a> / d theta = (J^T c(theta + e a) - J^T c(theta - e a)) / (2 e) + O(e^2)
        c(theta + e a) = c + d^2L/dz^2 (z(theta + e a) - z)

    So a step costs three plain ones, keeps no graph of the model, and takes attention that has no second derivative.
    Where not even graphs of U are kept, gradients wait for the reverse sweep, and of states every second one: the state
    between is U again, bit by bit, without the model. So a step of AdamW holds 2.5 times the parameters.

    Args:
        sides: `both`, or `one`: the derivatives of the forward sweep then stand in for those behind, with an error of
            O(e), and a step costs two plain ones. `auto`: `one` where its error is found to be small on the loop that
            is looked at; at other points of a search its error grows more than that of `both`.
        spacing: e |a| / |theta|; None: the one of least error (see `settled`).
        storage: of states and gradients between the sweeps; `auto` keeps graphs of U, as many as memory holds.
        error: the relative error that was found with the spacing; not an option.

    Raises:
        ConfigError: when called on a loop whose step has no halves, with a spacing that rounds to nothing, or where
            no spacing is good enough.

    Source: Liu et al., DARTS, ICLR 2019, section 2.3 (through one step of gradient descent); here through every step of
    AdamW.

    >>> print(Differences("one", spacing=1e-5))
    differences on one side, 1.0e-05 of theta's length away
    """

    sides: Literal["auto", "both", "one"] = "both"
    spacing: float | None = None
    storage: StorageConfig = field(default_factory=StorageConfig)
    error: float | None = None
    graphs: ClassVar[bool] = False

    @classmethod
    def of(cls, settings: HypergradConfig) -> Differences:
        """With the sides, the spacing and the storage of the settings."""
        return cls(settings.sides, settings.spacing, settings)

    def __call__(self, loop: Loop, trace: Trace | None = None) -> tuple[Tensor, Gradients]:
        """The outer loss and its derivative."""
        settled = self.settled(loop) if self.spacing is None else self._given(loop)
        assert settled.spacing is not None, "the spacing is settled"
        step = _halved(loop)
        ruler = Ruler(settled.sides == "one", settled.spacing, loop.layout)
        plan = planned(loop, self.storage, graphs=False)
        shelf, device = Shelf(plan.host), loop.state.tensors[0].device

        def kept(turn: Turn, seen: Seen, t: int) -> Halves:
            return Halves(step, turn, seen, loop.batches[t], loop.h, ruler)

        def fetched(seen: Seen) -> Seen:
            return seen.map(lambda x: shelf.back(x, device))

        def built(start: Callable[[], State], seen: Seen, t: int) -> Halves:
            at = fetched(seen)
            return kept(Turn(step, start(), at.grads, loop.batches[t], loop.h), at, t)

        def after(state: State, seen: Seen, t: int) -> State:
            with torch.no_grad():
                end: State = step.moved(state, seen.grads, loop.batches[t], loop.h)
            return end.map(Tensor.detach)

        def again(start: Callable[[], State], seen: Seen, t: int) -> State:
            return after(start(), fetched(seen), t)

        def record(state: State, first: int, last: int) -> tuple[Tape, State]:
            tape: Tape = []
            made: Callable[[], State] | None = None  # the next state, where it is not kept, from that before
            for t in range(first, last):
                seen = seen_at(step, state.params, loop.batches[t], loop.h)
                if t >= len(loop.batches) - plan.graphs:
                    turn = Turn(step, state, seen.grads, loop.batches[t], loop.h)
                    tape.append(partial(kept, turn, seen, t))
                    state = turn.end.map(Tensor.detach)
                else:
                    away = seen.map(shelf.away)
                    start = made or partial(shelf.take, shelf.put(state), device)
                    tape.append(partial(built, start, away, t))
                    made = None if made else partial(again, start, away, t)
                    state = after(state, seen, t)
            return tape, state

        return swept(loop, plan.span, shelf, record, trace or Trace())

    def __str__(self) -> str:
        """With what is known of its spacing and error."""
        sides = " on one side" if self.sides == "one" else ""
        spacing = "" if self.spacing is None else f", {self.spacing:.1e} of theta's length away"
        error = "" if self.error is None else f", expected error {100 * self.error:.2g} %"
        return f"differences{sides}{spacing}{error}"

    def settled(self, loop: Loop) -> Differences:
        """The same with sides and a spacing: those of least error on a loop with the same start and the last batches.

        Where the forward pass has a lower precision than the parameters, the error is measured beside one that has not,
        also that of a spacing by hand.

        Raises:
            ConfigError: no spacing comes near, as the losses are too noisy or too curved, or that by hand does not.
        """
        if self.spacing is None:
            found = self._chosen(loop)
            field, spacing, best, allowed = (
                "estimator",
                "'differences'",
                " at best",
                "unroll, which is exact, or more precision",
            )
        else:
            found = self._given(loop)
            found = replace(found, error=found._beside_precise(loop, self.spacing))
            field, spacing, best, allowed = "spacing", f"{self.spacing:g}", "", "null, which chooses it"
        if found.error is None or found.error < USELESS:
            return found
        wrong = f"{spacing}, whose error is {found.error:.0%}{best}, as rounding hides what they show"
        raise ConfigError([Fault(f"hypergrad.{field}", wrong, allowed)])

    def _chosen(self, loop: Loop) -> Differences:
        """The same with the sides and the spacing of least error."""
        found = replace(self, sides="one" if self.sides == "auto" else self.sides)._measured(loop)
        if self.sides == "auto" and not (found.error is not None and found.error <= SMALL):
            found = replace(self, sides="both")._measured(loop)
        return found

    def _given(self, loop: Loop) -> Differences:
        """The same with the spacing by hand.

        Raises:
            ConfigError: it rounds to nothing, or is not small.
        """
        dtype, spacing = loop.state.params[0].dtype, self.spacing
        least = torch.finfo(dtype).eps
        if spacing is None or least <= spacing <= WIDEST:
            return replace(self, sides="one" if self.sides == "one" else "both")
        nothing = f"which rounds to no difference in {str(dtype).removeprefix('torch.')}"
        wrong = f"{spacing:g}, {nothing if spacing < least else 'too far'}"
        raise ConfigError([Fault("hypergrad.spacing", wrong, f"{least:.1g} to {WIDEST}, or null, which chooses it")])

    def _derivative(self, loop: Loop, spacing: float, step: HalvedStep) -> Tensor:
        """Each derivative by the logarithm of its hyperparameter, by itself where it is 0; through the last batches."""
        _, by_name = replace(self, spacing=spacing)(replace(loop.last(TRIED), step=step))
        sizes = torch.stack([x.detach().double().abs() for x in loop.h.values()])
        return torch.stack([by_name[name].double() for name in loop.h]) * torch.where(sizes > 0, sizes, 1)

    def _beside_precise(self, loop: Loop, spacing: float) -> float | None:
        """The relative error beside a forward pass in the precision of the parameters, where the loop's has less."""
        step, order = _halved(loop), 1 if self.sides == "one" else 2
        if step.precise is step:
            return None
        true = self._derivative(loop, usual(step.precise.precision, order), step.precise)
        error = float((self._derivative(loop, spacing, step) - true).norm() / true.norm())
        return error if math.isfinite(error) else math.inf

    def _measured(self, loop: Loop) -> Differences:
        """The same with the best spacing and its error; a loop that diverges says nothing of either."""
        step, order = _halved(loop), 1 if self.sides == "one" else 2
        spacing, error = least_error(lambda x: self._derivative(loop, x, step), step.precision, order)
        if math.isinf(error):
            return replace(self, spacing=usual(step.precision, order))
        return replace(self, spacing=spacing, error=max(error, self._beside_precise(loop, spacing) or 0.0))

    def cost(self, loop: Loop) -> float:
        """Three step equivalents a step, at most, two with one side, and one more where its span is run again."""
        steps = len(loop.batches)
        plan = planned(loop, self.storage, graphs=False)
        return (2 if self.sides == "one" else 3) * steps + plan.repeated(steps)


def _halved(loop: Loop) -> HalvedStep:
    """The step of a loop.

    Raises:
        ConfigError: it has no halves.
    """
    if isinstance(loop.step, HalvedStep):
        return loop.step
    whole = "'differences', for a step without its halves `parts` and `moved`"
    raise ConfigError([Fault("hypergrad.estimator", whole, "unroll")])


class Halves:
    """One step that is reversed in two halves: what became of the gradients, and the gradients.

    Args:
        seen: outputs and gradients at the start.
    """

    def __init__(
        self, step: HalvedStep, turn: Turn, seen: Seen, batch: Any, h: Mapping[str, Tensor], ruler: Ruler
    ) -> None:
        self.start, self.batch = turn.start, batch
        self._step, self._turn, self._seen, self._h, self._ruler = step, turn, seen, h, ruler

    def pull(self, adjoints: list[Any], totals: Gradients) -> Any:
        """The adjoint of the start from that of the end; the step's share of d/dh is added to the totals."""
        states, along, by_h = self._turn.pulled(adjoints.pop())
        del self._turn  # with its graph, before the model's
        products, of_h = self._through_gradients(along)
        _add(totals, by_h, of_h)
        of_params, others = states[: len(products)], states[len(products) :]
        del states
        return self.start.replaced([*used_up(torch.add, of_params, list(products)), *others])

    def share(self, adjoints: list[Any], totals: Gradients) -> None:
        """The step's share of d/dh is added to the totals: by the outputs beside theta, without their gradients."""
        along, by_h = self._turn.pulled(adjoints.pop())[1:]
        del self._turn
        around, here = self._around
        moves = self._ruler.along(
            lambda at: moved_beside(self._step, at, self.batch, around), here, self.start.params, along
        )
        _add(totals, by_h, by_hyperparameter(around, moves))

    @property
    def _around(self) -> tuple[list[Expansion], Tensors]:
        """The losses around the outputs at theta, and how far these are from themselves: zeros, part by part."""
        origin = self._seen.outputs
        around = expansions(self._step, self.batch, self._h, origin)
        return around, [torch.zeros_like(z) for part in origin for z in part]

    def _through_gradients(self, a: Sequence[Tensor]) -> tuple[Tensors, Gradients]:
        """d <g, a> / d theta and d <g, a> / d h."""
        params, (around, still) = self.start.params, self._around

        def beside(at: Sequence[Tensor]) -> Tensors:
            seen = seen_beside(self._step, at, self.batch, around)
            return [*with_zeros(seen.grads, params), *(move for part in seen.outputs for move in part)]

        here = [*with_zeros(self._seen.grads, params), *still]
        values = self._ruler.along(beside, here, params, a)
        return values[: len(params)], by_hyperparameter(around, values[len(params) :])


def _add(totals: Gradients, *shares: Gradients) -> None:
    for name in totals:
        totals[name] = sum((share[name] for share in shares), totals[name])
