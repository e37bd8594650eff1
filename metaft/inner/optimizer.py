"""torch's AdamW on explicit states, for an optimizer of higher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.inner.adamw import Constants, adamw
from metaft.inner.state import InnerState

MOMENTS = ("exp_avg", "exp_avg_sq")


class AdamWOnStates:
    """What an optimizer of higher needs to be torch.optim.AdamW as a graph, with lr and weight decay as tensors.

    Parameters without a gradient are left alone, as torch leaves them. See `metaft.inner.adamw` for the update.
    """

    param_groups: list[dict[str, Any]]
    state: list[Any]
    _group_to_param_list: list[list[int]]
    _apply_override: Any

    def _update(self, grouped_grads: list[list[Tensor | None]], **_: Any) -> None:
        groups = list(zip(self.param_groups, self.state, grouped_grads, strict=True))
        alike: dict[tuple[int, int], list[Any]] = {}
        for each in groups:
            alike.setdefault((id(each[0]["lr"]), id(each[0]["weight_decay"])), []).append(each)
        for members in alike.values():
            self._update_alike(members)

    def _update_alike(self, groups: Sequence[tuple[dict[str, Any], Any, list[Tensor | None]]]) -> None:
        """The update of groups with the same learning rate and weight decay, all at once."""
        live = [
            (group["params"], state, i, g)
            for group, state, grads in groups
            for i, g in enumerate(grads)
            if g is not None
        ]
        if not live:
            return
        for params, state, i, _ in live:
            state[i] = state[i] or {"step": 0, **{k: torch.zeros_like(params[i]) for k in MOMENTS}}
        group, (_, first, number, _) = groups[0][0], live[0]
        t = 1 + int(first[number]["step"])
        new, exp_avg, exp_avg_sq = adamw(
            [params[i] for params, _, i, _ in live],
            [g for *_, g in live],
            [state[i]["exp_avg"] for _, state, i, _ in live],
            [state[i]["exp_avg_sq"] for _, state, i, _ in live],
            group["lr"],
            group["weight_decay"],
            Constants(group["betas"][0], group["betas"][1], group["eps"], t),
        )
        for (params, state, i, _), p, m, v in zip(live, new, exp_avg, exp_avg_sq, strict=True):
            params[i], state[i] = p, {"step": t, "exp_avg": m, "exp_avg_sq": v}

    def advance(
        self, state: InnerState, grads: Sequence[Tensor | None], lr: Sequence[Any], wd: Sequence[Any]
    ) -> InnerState:
        """The state after one update by the given gradients; `lr` and `wd` hold one value per group."""
        self._apply_override({"lr": lr, "weight_decay": wd})
        members = [list(enumerate(group)) for group in self._group_to_param_list]
        for group, slots, pairs in zip(self.param_groups, self.state, members, strict=True):
            group["params"] = [state.params[j] for _, j in pairs]
            for i, j in pairs:
                slots[i] = {"step": state.step, "exp_avg": state.exp_avg[j], "exp_avg_sq": state.exp_avg_sq[j]}
        self._update([[grads[j] for _, j in pairs] for pairs in members])
        params, exp_avg, exp_avg_sq = (list(part) for part in (state.params, state.exp_avg, state.exp_avg_sq))
        for group, slots, pairs in zip(self.param_groups, self.state, members, strict=True):
            for i, j in pairs:
                moments = slots.pop(i)  # so that no graph outlives its estimate
                params[j], exp_avg[j], exp_avg_sq[j] = group["params"][i], moments["exp_avg"], moments["exp_avg_sq"]
            group["params"] = [None] * len(pairs)
        return InnerState(tuple(params), tuple(exp_avg), tuple(exp_avg_sq), state.step + 1, state.extra)
