"""Finding the step and the term at which a hypergradient left the range in which it means anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metaft import ranks
from metaft.inner.attention import second_order_attention
from metaft.inner.loop import Estimator, Loop, Trace, plain
from metaft.inner.state import InnerState
from metaft.inner.step import Step
from metaft.shards import Whole
from metaft.tensors import Tensors, pulled, with_zeros

WHOLE = Whole()
OPTIMIZER = "AdamW's denominator (inner.eps)"


def explanation(estimator: Estimator, loop: Loop, step: Step, h: Mapping[str, Any], length: float) -> str:
    """Which step and which term made a hypergradient of some length explode, by two more sweeps.

    Args:
        step: that of the loop, with all of `h` as an argument.
    """
    symptom, trace = f"hypergradient of length {length:.3g}", Trace(whole=True)
    diverged, steps = diverged_step(loop), len(loop.batches)
    if diverged is not None:
        return f"the inner loop diverged at step {diverged} of {steps}"
    estimator(loop, trace)
    if not trace.lengths:
        return f"{symptom}; {estimator} goes through no steps backwards, so none can be named"
    guilty = culprit_step(trace, step.layout)
    if guilty is None:
        return f"{symptom}, from the outer loss"
    seen = []

    def look(t: int, *link: Any) -> None:
        if t == guilty:
            seen.append(link)

    estimator(loop, Trace(link=look))
    state, batch, adjoint = seen[0]
    swept = estimator.swept(loop)
    before = 0 if swept is None else steps - len(swept.batches)
    where = f"{symptom}, from inner step {before + guilty} of {steps}"
    try:
        return f"{where}, term {culprit_term(step, state, batch, h, adjoint)}"
    except Exception as error:
        if not ranks.out_of_own_memory(error):
            raise
        return f"{where}; which term it is takes more memory than there is"


def culprit_step(trace: Trace, layout: Whole = WHOLE) -> int | None:
    """The step whose reversal made the adjoint not finite, or else grow most; None: it came from the outer loss."""
    lengths = {t: float(layout.norm(x)) for t, x in sorted(trace.lengths.items(), reverse=True)}
    last = next(iter(lengths), None)
    if last is None or not math.isfinite(lengths[last]):
        return None
    for t in lengths:
        if t > 0 and not math.isfinite(lengths[t - 1]):
            return t
    growth = {t: lengths[t - 1] / max(lengths[t], 1e-300) for t in lengths if t > 0}
    return max(growth, key=growth.__getitem__)


def culprit_term(step: Step, state: InnerState, batch: Any, h: Mapping[str, Any], adjoint: InnerState) -> str:
    """The term with the largest (or no finite) part in a step's reversal: |H_i a|, a the adjoint of the gradient."""
    shares = second_order_shares(step, state, batch, h, adjoint)
    return max(shares, key=lambda name: math.inf if math.isnan(shares[name]) else shares[name])


def second_order_shares(
    step: Step, state: InnerState, batch: Any, h: Mapping[str, Any], adjoint: InnerState
) -> dict[str, float]:
    """Length of each term's part of the adjoint, by term: |d/d theta <grad (w_i loss_i), a>|.

    Where a itself is not finite, the optimizer's update is to blame, not a term. What is compiled runs uncompiled, and
    the graph of one term on one part of the batch is in memory at a time.
    """
    with second_order_attention(), torch.compiler.set_stance("force_eager"):
        back = _adjoint_of_gradient(step, state, batch, h, adjoint)
        if not _finite(back, step.layout):
            return {OPTIMIZER: math.inf}
        start, pulls = state.leaves(), dict[str, Tensors]()
        for share, part in batch.parts(step.accumulate):
            for name, term in step.terms(start.params, part, h).items():
                pull = _pull(_gradient(term, start), start, [share * a for a in back])
                pulls[name] = torch._foreach_add(pulls[name], pull) if pulls.get(name) and pull else pull
        return {name: _length(pull, step.layout) for name, pull in pulls.items()}


def _adjoint_of_gradient(
    step: Step, state: InnerState, batch: Any, h: Mapping[str, Any], adjoint: InnerState
) -> Tensors:
    """The adjoint of the gradient of the loss in a step, from that of the state it ends in."""
    params = state.leaves().params
    total = [g.detach().requires_grad_() for g in with_zeros(step.gradients(params, batch, h), params)]
    end = step.taken(state.map(Tensor.detach), total, batch, h)
    return pulled(end.tensors, adjoint.tensors, total)


def diverged_step(loop: Loop) -> int | None:
    """The first step, from 1, after which a parameter is not finite; None: there is none."""
    state = loop.state
    for t, batch in enumerate(loop.batches, 1):
        state = plain(loop.step, state, batch, loop.h)
        if not _finite(state.params, loop.layout):
            return t
    return None


def _gradient(part: Tensor, start: InnerState) -> tuple[Tensor, ...]:
    return torch.autograd.grad(part, start.params, create_graph=True, allow_unused=True, materialize_grads=True)


def _pull(grads: tuple[Tensor, ...], start: InnerState, adjoint: Tensors) -> Tensors:
    return pulled(grads, adjoint, start.params, retain_graph=True) if any(g.requires_grad for g in grads) else ()


def _finite(tensors: Tensors, layout: Whole) -> bool:
    return layout.everywhere(all(bool(t.isfinite().all()) for t in tensors))


def _length(tensors: Tensors, layout: Whole) -> float:
    return float(layout.norm(torch.stack([t.double().norm() for t in tensors]).norm())) if tensors else 0.0
