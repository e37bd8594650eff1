"""Optimizers for training loops outside of metaft."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.errors import CheckpointError, ConfigError, Fault
from metaft.hooks.ball import row_norms_, row_sums, spread
from metaft.hooks.ftp import FTP
from metaft.hooks.knobs import faults
from metaft.hooks.patterns import matching
from metaft.hooks.radii import Radii
from metaft.hooks.registry import HOOKS

IMPLEMENTATIONS = {"foreach", "fused", "capturable", "differentiable"}
RADIUS = ("radius_taken", "radius", "radius_exp_avg", "radius_exp_avg_sq")


class FTPAdamW(torch.optim.AdamW):
    """AdamW whose every step is projected onto balls around the pretrained weights (see `metaft.hooks.ftp.FTP`).

    A drop-in for torch.optim.AdamW, with all its options. A tensor's anchor is what it holds at its first step, so make
    the optimizer when the pretrained weights are in place; from then on anchors and radii are in `state_dict`, and a
    resumed run equals an uninterrupted one. Keep parameters in float32 or float64 (autocast is fine): a drift small
    beside its weight is lost in a shorter format.

    Args:
        params: as of torch's optimizers; named parameters where there are exclusions.
        kappa: in [0, 1], the strength of the pull; at 0 balls only grow. An option of parameter groups.
        speed: the share of the longest row by which a radius may move in a step. An option of parameter groups.
        norm: `mars` (row by row) or `l2` (tensor by tensor).
        exclude: patterns of names (with `*`) of parameters that take plain AdamW steps, such as a new head.
        **options: of torch.optim.AdamW. Where none of its implementations is asked for, the fused one is taken on CPU
            and CUDA, which more than makes up for the projection's own passes over the weights.

    Raises:
        ConfigError: a pattern matches no parameter, exclusions without names, a knob out of its range.

    Source: Tian et al., Fast trainable projection for robust fine-tuning, NeurIPS 2023, algorithm 1.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    >>> optimizer = FTPAdamW(model.named_parameters(), lr=1e-3, exclude=["1.*"])
    >>> model(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    >>> "anchor" in optimizer.state[model[0].weight]
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        *,
        kappa: float = 1.0,
        speed: float = 0.1,
        norm: str = "mars",
        exclude: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._hook, self._exclude = FTP(norm), tuple(exclude)
        self._excluded: set[Tensor] = set()
        self._fresh: dict[Tensor, Tensor] = {}
        params = list(params)
        if not IMPLEMENTATIONS & set(options) and all(map(_fusable, params)):
            options["fused"] = True
        super().__init__(params, lr, **options)
        for name, value in (("kappa", kappa), ("speed", speed)):
            self.defaults[name] = value
            for group in self.param_groups:
                group.setdefault(name, value)
        self._step_supports_amp_scaling = False  # a GradScaler is to unscale gradients before radii learn from them
        if exclude:
            matching([n for group in self.param_groups for n in group.get("param_names", ())], exclude, "exclude")
        for group in self.param_groups:
            wrong = faults("FTPAdamW", HOOKS["ftp"].knobs, {name: group[name] for name in ("kappa", "speed")})
            if wrong:
                raise ConfigError(wrong)
        self._attach()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; parameters in it whose names an exclusion matches take plain steps."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if self._exclude and "param_names" not in group:
            nameless = "patterns, but parameters without names"
            raise ConfigError([Fault("exclude", nameless, "named parameters, such as model.named_parameters()")])
        if self._exclude:
            excluded = set(matching(group["param_names"], self._exclude))
            pairs = zip(group["param_names"], group["params"], strict=True)
            self._excluded.update(p for name, p in pairs if name in excluded)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, anchors and radii included.

        Raises:
            CheckpointError: it has no anchors, as another optimizer's; theta_0 would be lost unnoticed.
        """
        pairs = [
            (number, p)
            for theirs, ours in zip(state_dict["param_groups"], self.param_groups, strict=False)
            for number, p in zip(theirs["params"], ours["params"], strict=False)
        ]
        states = state_dict["state"]
        unanchored = [n for n, p in pairs if states.get(n) and "anchor" not in states[n] and p not in self._excluded]
        if unanchored:
            raise CheckpointError(
                f"state_dict: no anchor of parameters {', '.join(map(str, unanchored[:5]))}; allowed: a state of "
                "FTPAdamW with the same exclusions"
            )
        super().load_state_dict(state_dict)

    def _attach(self) -> None:
        """Register `_before` and `_after` around every step, unless they are registered already."""
        if self._before not in self._optimizer_step_pre_hooks.values():
            self.register_step_pre_hook(self._before)
            self.register_step_post_hook(self._after)

    def __getstate__(self) -> dict[str, Any]:
        names = ("_hook", "_exclude", "_excluded", "_fresh")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._attach()

    def _before(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Let the radii learn from the gradients, if need be once a closure has computed them."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._learn()
            return args, kwargs

        def then_learn() -> Any:
            loss = closure()
            self._learn()
            return loss

        return (args[0], then_learn), {}

    def _moving(self) -> Iterator[tuple[dict[str, Any], list[Tensor]]]:
        """The parameters that are about to move and are not excluded: by group, device and data type."""
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None and p not in self._excluded:
                    alike.setdefault((p.device, p.dtype), []).append(p)
            for params in alike.values():
                yield group, params

    @torch.no_grad()
    def _learn(self) -> None:
        for group, params in self._moving():
            known = [p for p in params if "anchor" in self.state.get(p, ())]
            self._fresh.update({p: p.clone() for p in params if "anchor" not in self.state.get(p, ())})
            if known:
                radii, sign = self._radii(known), -1 if group["maximize"] else 1
                pulls = [row_sums(c.mul_(_grad(p)), self._hook.norm) for p, c in self._drifts(known)]
                gradient = sign * self._hook.gradient(pulls, radii)
                self._put(known, self._hook.learned(gradient, radii, group))

    @torch.no_grad()
    def _after(self, *_args: Any) -> None:
        """Project the parameters that AdamW has proposed, and set the anchors of new ones."""
        for p, anchor in self._fresh.items():
            self.state[p]["anchor"] = anchor
            self._put([p], Radii.of(self._hook.initial([anchor])))
        self._fresh.clear()
        for _, params in self._moving():
            norms = [row_norms_(c, self._hook.norm) for _, c in self._drifts(params)]
            kept, radii = self._hook.bounded(norms, self._radii(params))
            for p, share in zip(params, kept, strict=True):
                torch.lerp(self.state[p]["anchor"], p, spread(share, p, self._hook.norm), out=p)
            self._put(params, radii)

    def _drifts(self, params: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each tensor and its p - p_0, all in the same scratch memory in turn, which the caller may overwrite."""
        scratch = torch.empty(max(p.numel() for p in params), dtype=params[0].dtype, device=params[0].device)
        for p in params:
            yield p, torch.sub(p, self.state[p]["anchor"], out=scratch[: p.numel()].view(p.shape))

    def _radii(self, params: Sequence[Tensor]) -> Radii:
        states = [self.state[p] for p in params]
        taken, radius, exp_avg, exp_avg_sq = (torch.stack([s[name] for s in states]) for name in RADIUS)
        return Radii(taken, radius, exp_avg, exp_avg_sq, [s["row_norms"] for s in states])

    def _put(self, params: Sequence[Tensor], radii: Radii) -> None:
        for name, values in zip(RADIUS, radii[:4], strict=True):
            for p, value in zip(params, values.unbind(), strict=True):
                self.state[p][name] = value
        for p, norms in zip(params, radii.norms, strict=True):
            self.state[p]["row_norms"] = norms


def _fusable(entry: Any) -> bool:
    """Whether torch's fused AdamW takes a parameter, a named one, or all of a group."""
    if isinstance(entry, dict):
        params = entry["params"]
        members = [params] if isinstance(params, Tensor) else params
        return not isinstance(params, Iterator) and all(map(_fusable, members))
    p = entry[1] if isinstance(entry, tuple) else entry
    return isinstance(p, Tensor) and p.is_floating_point() and p.device.type in ("cpu", "cuda")


def _grad(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad
