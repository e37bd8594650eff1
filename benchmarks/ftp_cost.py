"""What projection costs: a training step and the update alone of AdamW, FTP, SPD and TPGM, and what they keep.

    python benchmarks/ftp_cost.py [--device cpu] [--batch 8] [--repeats 9] [--quick] [--out FILE]

On the image tower of an untrained ViT-B/16 with a head of 1,000 classes (--quick: a small ViT). A row is one method:
`seconds` of an iteration (forward, backward, update; TPGM with one step on its radii, which adds a validation batch of
the same size), `update_seconds` of the update alone, each the median of repeats in which the methods take turns, and
their ratios to AdamW in the same run; `copies` is the state in units of the parameters, AdamW's two moments among it,
and `peak_bytes` (on a GPU) what an iteration allocates at most, all of the model included. `adamw` is
torch.optim.AdamW as it comes; FTP is `FTPAdamW`, which takes torch's fused kernel by default; SPD and TPGM are their
hooks around torch.optim.AdamW.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from shared.rows import Row, Rows, arguments
from torch import Tensor, nn
from torch.func import functional_call

from metaft.clip.load import RANDOM, load
from metaft.clip.names import TOY
from metaft.hooks.hook import Hook
from metaft.hooks.spd import SPD
from metaft.hooks.tpgm import TPGM
from metaft.optim import FTPAdamW

METHODS = ("adamw", "adamw, fused", "ftp", "ftp, not fused", "spd", "tpgm")
CLASSES = 1000
Data = tuple[Tensor, Tensor]


class Hooked(torch.optim.AdamW):
    """torch's AdamW with a hook around its steps."""

    def __init__(self, params: list[Tensor], hook: Hook, knobs: dict[str, float]) -> None:
        super().__init__(params, lr=1e-5)
        self._values, self._hook, self._knobs = params, hook, knobs
        self._anchors = [p.detach().clone() for p in params]
        self.extra = hook.initial(self._anchors)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        grads = [p.grad for p in self._values if p.grad is not None]
        _, state = self._hook.before(grads, self._values, self._anchors, self.extra, self._knobs)
        super().step()
        moved, self.extra = self._hook.after(self._values, self._anchors, state, self._knobs)
        torch._foreach_copy_(self._values, list(moved))

    def kept(self) -> list[Tensor]:
        """The tensors it keeps beside AdamW's."""
        return [*self._anchors, *self.extra]


def tower(quick: bool) -> nn.Module:
    """An untrained image tower with a head."""
    torch.manual_seed(0)
    visual = load(TOY if quick else "ViT-B-16", RANDOM).model.visual
    return nn.Sequential(visual, nn.Linear(visual.output_dim, CLASSES))


def optimizer_of(method: str, model: nn.Module, data: Data) -> torch.optim.Optimizer:
    """A method as an optimizer of all parameters."""
    params = [p for p in model.parameters() if p.requires_grad]
    if method.startswith("adamw"):
        return torch.optim.AdamW(params, lr=1e-5, fused=True if method.endswith(", fused") else None)
    if method.startswith("ftp"):
        return FTPAdamW(params, lr=1e-5, **({"foreach": None} if method.endswith("not fused") else {}))  # torch's own
    if method == "spd":
        return Hooked(params, SPD(), {"strength": 1.0})
    names = [name for name, p in model.named_parameters() if p.requires_grad]

    def probe(values: list[Tensor], _: int) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [v.detach().requires_grad_() for v in values]
            out = functional_call(model, dict(zip(names, leaves, strict=True)), (data[0],))
            return torch.autograd.grad(F.cross_entropy(out, data[1]), leaves)

    return Hooked(params, TPGM(probe, 1, "mars"), {"speed": 0.03})


class Method:
    """A method at work on its own copy of the model."""

    def __init__(self, name: str, quick: bool, data: Data, device: str) -> None:
        self.name, self._data, self._device = name, data, device
        self.model = tower(quick).to(device)
        self.optimizer = optimizer_of(name, self.model, data)

    def iteration(self) -> None:
        """Forward, backward, update."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self._data[0]), self._data[1]).backward()
        self.optimizer.step()

    def timed(self, act: Callable[[], Any]) -> float:
        """Seconds."""
        self._wait()
        start = time.perf_counter()
        act()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    def copies(self) -> float:
        """What the optimizer keeps, in units of the parameters."""
        state = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        if isinstance(self.optimizer, Hooked):
            state += self.optimizer.kept()
        return sum(t.numel() * t.element_size() for t in state) / sum(
            p.numel() * p.element_size() for p in self.model.parameters()
        )

    def peak(self) -> int | None:
        """The most bytes that an iteration holds on a GPU."""
        if not self._device.startswith("cuda"):
            return None
        torch.cuda.reset_peak_memory_stats()
        self.iteration()
        return torch.cuda.max_memory_allocated()


def kept(name: str, quick: bool, data: Data, device: str) -> Row:
    """What a method keeps, measured with no other one beside it."""
    method = Method(name, quick, data, device)
    method.iteration()
    row = {"peak_bytes": method.peak(), "copies": round(method.copies(), 4)}
    del method
    gc.collect()
    return row


def timed(methods: Sequence[Method], repeats: int) -> dict[str, tuple[float, float]]:
    """By method the seconds of an iteration and of the update alone, medians of repeats in which they take turns."""
    for _ in range(2):  # radii are free in the first step, and anything is slow in it
        for method in methods:
            method.iteration()
    seconds: dict[str, list[tuple[float, float]]] = {method.name: [] for method in methods}
    for _ in range(repeats):
        for method in methods:
            seconds[method.name].append((method.timed(method.iteration), method.timed(method.optimizer.step)))
    return {name: tuple(map(median, zip(*pairs, strict=True))) for name, pairs in seconds.items()}


def main() -> None:
    args = arguments("ftp_cost", __doc__, seeds=(0,), batch=8, repeats=9)
    rows = Rows("ftp_cost", args, ("method",))
    if all({"method": m} in rows for m in METHODS):
        return
    g, side = torch.Generator().manual_seed(0), 32 if args.quick else 224
    images = torch.randn(args.batch, 3, side, side, generator=g).to(args.device)
    data = images, torch.randint(CLASSES, (args.batch,), generator=g).to(args.device)
    state = {name: kept(name, args.quick, data, args.device) for name in METHODS}
    methods = [Method(name, args.quick, data, args.device) for name in METHODS]
    seconds = timed(methods, 3 if args.quick else args.repeats)
    adamw = seconds["adamw"]
    for method in methods:
        iteration, update = seconds[method.name]
        size = sum(p.numel() for p in method.model.parameters())
        time_row = {"seconds": round(iteration, 5), "ratio": round(iteration / adamw[0], 3)}
        time_row |= {"update_seconds": round(update, 5), "update_ratio": round(update / adamw[1], 3)}
        rows.add({"method": method.name, "params": size, "batch": args.batch, **time_row, **state[method.name]})


if __name__ == "__main__":
    main()
