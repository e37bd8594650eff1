"""One inner step: AdamW on higher's patched model, with explicit state in and out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from metaft.clip.classifier import Classifier, Outputs
from metaft.objective import WeightedLoss, per_group
from metaft.objective.batches import TrainBatch

with warnings.catch_warnings():
    # higher 0.2.1, compiled by a Python newer than itself: `is` with a literal, and a stray backslash.
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import higher

FLOOR = 1e-30  # under the square root of the second moment: its derivative at 0 is large, not infinite


class InnerState(NamedTuple):
    """Parameters, first and second moments (in the order of `Step.names`), and the number of steps taken."""

    params: tuple[Tensor, ...]
    exp_avg: tuple[Tensor, ...]
    exp_avg_sq: tuple[Tensor, ...]
    step: int


class DifferentiableAdamW(higher.optim.DifferentiableOptimizer):
    """torch.optim.AdamW as a graph, with lr and weight decay as tensors.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    p <- (1 - lr wd) p - lr / (1 - b1^t) m / (sqrt(v + 1e-30) / sqrt(1 - b2^t) + eps)

    Parameters without a gradient are left alone, as torch leaves them. Source: Loshchilov and Hutter, ICLR 2019,
    algorithm 2, with eps where torch has it.
    """

    def _update(self, grouped_grads: list[list[Tensor | None]], **_: Any) -> None:
        for index, (group, grads) in enumerate(zip(self.param_groups, grouped_grads, strict=True)):
            beta1, beta2 = group["betas"]
            for i, (p, g) in enumerate(zip(group["params"], grads, strict=True)):
                if g is None:
                    continue
                state = self.state[index][i]
                t = int(state.get("step", 0)) + 1
                m = beta1 * state.get("exp_avg", torch.zeros_like(p)) + (1 - beta1) * g
                v = beta2 * state.get("exp_avg_sq", torch.zeros_like(p)) + (1 - beta2) * g * g
                denominator = (v + FLOOR).sqrt() / math.sqrt(1 - beta2**t) + group["eps"]
                decayed = p * (1 - group["lr"] * group["weight_decay"])
                group["params"][i] = decayed - group["lr"] / (1 - beta1**t) * (m / denominator)
                self.state[index][i] = {"step": t, "exp_avg": m, "exp_avg_sq": v}


higher.register_optim(torch.optim.AdamW, DifferentiableAdamW)


@contextmanager
def second_order_attention() -> Iterator[None]:
    """The attention kernel that has second derivatives; the fused ones have none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


class Step:
    """A function (state, batch, h) -> state: one AdamW step on the weighted loss.

    Args:
        classifier: theta_0; what it marks as trained moves, the rest stays. It is not changed.
        loss: the weighted sum of terms.
        betas, eps: AdamW's constants.
    """

    def __init__(self, classifier: Classifier, loss: WeightedLoss, betas: tuple[float, float], eps: float) -> None:
        trained = classifier.trained()
        self.names = tuple(trained)
        self.pretrained = {name: p.detach() for name, p in trained.items()}
        self._loss = loss
        self._groups = classifier.groups()
        self._model = higher.monkeypatch(classifier, copy_initial_weights=True, track_higher_grads=False)
        self._rest = [p.detach() for p in classifier.parameters()]
        self._slots = [i for i, p in enumerate(classifier.parameters()) if p.requires_grad]
        optimizer = torch.optim.AdamW(
            [{"params": [trained[name] for name in members]} for members in self._groups.values()],
            betas=betas,
            eps=eps,
        )
        self._optimizer = higher.get_diff_optim(optimizer, list(trained.values()))

    def initial(self) -> InnerState:
        """theta_0 and zero moments."""
        params = tuple(p.clone().requires_grad_() for p in self.pretrained.values())
        zeros = tuple(torch.zeros_like(p) for p in params)
        return InnerState(params, zeros, zeros, 0)

    def forward(self, params: tuple[Tensor, ...], images: Tensor, tokens: Tensor | None = None) -> Outputs:
        """The model's outputs at these parameters."""
        full = list(self._rest)
        for slot, p in zip(self._slots, params, strict=True):
            full[slot] = p
        self._model.update_params(full)
        with second_order_attention():
            out: Outputs = self._model(images, tokens)
        self._model.update_params(self._rest)  # so that no graph outlives its estimate
        return out

    def loss(self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any]) -> Tensor:
        """The inner loss at a state."""
        out = self.forward(state.params, batch.images, batch.tokens)
        params = dict(zip(self.names, state.params, strict=True))
        return self._loss(batch.observe(out, params, self.pretrained), h)

    def __call__(
        self, state: InnerState, batch: TrainBatch, h: Mapping[str, Any], differentiable: bool = True
    ) -> InnerState:
        """The next state; differentiable in state and h, or detached.

        Args:
            h: weights by term, `lr` and `wd`, each a number or a 0-d tensor, and `NAME@GROUP` for a group's own.
        """
        loss = self.loss(state, batch, h)
        self._load(state)
        self._optimizer._track_higher_grads = differentiable
        with second_order_attention():
            params = self._optimizer.step(
                loss,
                params=state.params,
                override={
                    "lr": [per_group(h, "lr", group) for group in self._groups],
                    "weight_decay": [per_group(h, "wd", group) for group in self._groups],
                },
            )
        return self._unload(tuple(params), state, differentiable)

    def _load(self, state: InnerState) -> None:
        for index, members in enumerate(self._optimizer._group_to_param_list):
            for i, j in enumerate(members):
                self._optimizer.state[index][i] = {
                    "step": state.step,
                    "exp_avg": state.exp_avg[j],
                    "exp_avg_sq": state.exp_avg_sq[j],
                }

    def _unload(self, params: tuple[Tensor, ...], before: InnerState, differentiable: bool) -> InnerState:
        exp_avg, exp_avg_sq = list(before.exp_avg), list(before.exp_avg_sq)
        for index, members in enumerate(self._optimizer._group_to_param_list):
            for i, j in enumerate(members):
                own = self._optimizer.state[index].pop(i)
                exp_avg[j], exp_avg_sq[j] = own["exp_avg"], own["exp_avg_sq"]
            self._optimizer.param_groups[index]["params"] = [None] * len(members)
        if not differentiable:
            exp_avg, exp_avg_sq = [t.detach() for t in exp_avg], [t.detach() for t in exp_avg_sq]
        return InnerState(params, tuple(exp_avg), tuple(exp_avg_sq), before.step + 1)
