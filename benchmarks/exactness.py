"""How exact the inner loop and its hypergradients are, on a CLIP model and in float64.

    python benchmarks/exactness.py [--device cpu] [--seeds 0 1 2] [--quick] [--out FILE]

Rows of `check: trajectory`: the largest difference of any parameter between our step and torch.optim.AdamW over 20
steps, all terms active, for two eps, without and with parameter groups. Rows of `check: hypergradient`: for each
hyperparameter the relative difference between the unrolled hypergradient and a central difference (the best of three
step sizes, 1e-5, 1e-6 and 1e-7 of the value: the larger suffer from curvature, the smaller from rounding). --quick
takes one seed, shorter loops and one step size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from shared.rows import Rows, arguments
from torch import Tensor, nn
from torch.nn import functional as F

from metaft import config, pipeline
from metaft.clip.classifier import Classifier, grouped, picked_parameters
from metaft.config.schema import AdamWConfig, StepConfig
from metaft.finetune.optimizers import adamw
from metaft.inner import InnerState, Step, estimate
from metaft.objective import WeightedLoss
from metaft.training.batches import TrainBatch

H = {
    **{"ce": 1.0, "dcm": 0.3, "entropy": 0.2, "flyp": 0.4, "hinge": 0.1, "kd": 0.5},
    **{"l1init": 0.05, "l1zero": 0.05, "l2init": 0.1, "l2zero": 0.02, "lr": 1e-3, "wd": 0.2},
}
GROUPED = {"lr@head": 3e-3, "wd@stem": 0.5, "l2init@block.0.attn": 0.3}
BATCH, STEPS = 8, 20
DIFFERENCES = (1e-6, 1e-5, 1e-7)  # of a value, as shares; --quick has the first alone


@dataclass(frozen=True)
class Setting:
    """A model in float64, the names of the parameters that train, and batches."""

    classifier: Classifier
    names: tuple[str, ...]
    batches: list[TrainBatch]

    @cached_property
    def loss(self) -> WeightedLoss:
        return WeightedLoss(grouped(self.names), sum(p.numel() for p in self.trained(self.classifier).values()))

    def trained(self, model: Classifier) -> dict[str, nn.Parameter]:
        """The parameters of a copy that train."""
        return picked_parameters(model, self.names)

    def step(self, eps: float) -> Step:
        return Step(self.classifier, self.names, self.loss, StepConfig(eps=eps))


def setting(seed: int) -> Setting:
    """The toy CLIP in float64, moved off the kinks of the l1 penalties, and batches of digits."""
    work = pipeline.opened(config.load(None, ["data.options.id_train=400", f"seed={seed}", "device=cpu"]))
    classifier = copy.deepcopy(work.classifier).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in classifier.parameters():
            p.add_(0.01 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    made = []
    for rows in torch.randperm(400, generator=g).split(BATCH)[: STEPS + 1]:
        batch = work.splits.id_train.batch(rows)
        images = batch.images.double()
        with torch.no_grad():
            out = classifier(images)
        noise = 0.5 * torch.randn(out.logits.shape, generator=g, dtype=torch.float64)  # kd away from its minimum
        reference = (out.logits + noise, out.image_features)
        made.append(
            TrainBatch(images, batch.labels, work.tokens[batch.labels, 0], lambda reference=reference: reference)
        )
    return Setting(classifier, work.trained(text=True), made)


def trajectory(of: Setting, h: Mapping[str, float], eps: float) -> float:
    """The largest difference to torch.optim.AdamW over 20 steps."""
    step, model = of.step(eps), copy.deepcopy(of.classifier)
    trained = of.trained(model)
    optimizer = adamw(trained, h, AdamWConfig(eps=eps))
    state = step.initial()
    for batch in islice(of.batches, STEPS):
        state = step.plain(state, batch, h)
        out = model(batch.images, batch.tokens)
        optimizer.zero_grad()
        of.loss(batch.observe(out, dict(trained), step.pretrained), h).backward()
        optimizer.step()
    pairs = zip(state.params, trained.values(), strict=True)
    return max(float((ours - theirs).detach().abs().max()) for ours, theirs in pairs)


def hypergradient(of: Setting, values: Mapping[str, float], steps: int, sizes: Sequence[float]) -> dict[str, float]:
    """The relative error of each component, by the best of these step sizes."""
    step, last = of.step(1e-6), of.batches[-1]
    h = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def outer(state: InnerState) -> Tensor:
        return F.cross_entropy(step.forward(state.params, last.images).logits, last.labels)

    @torch.no_grad()
    def judge(state: InnerState) -> float:
        return float(outer(state))

    def value(name: str, factor: float) -> float:
        state = step.initial()
        for batch in of.batches[:steps]:
            state = step.plain(state, batch, {**h, name: h[name] * factor})
        return judge(state)

    _, gradient = estimate(step, step.initial(), of.batches[:steps], h, outer)
    errors = {}
    for name in h:
        exact = float(gradient[name] * h[name])
        numeric = [(value(name, 1 + d) - value(name, 1 - d)) / (2 * d) for d in sizes]
        errors[name] = min(abs(n / exact - 1) for n in numeric)
    return errors


def main() -> None:
    args = arguments("exactness", __doc__, seeds=(0, 1, 2))
    rows = Rows("exactness", args, ("check", "seed", "eps", "grouped"))
    steps, sizes = (2, DIFFERENCES[:1]) if args.quick else (3, DIFFERENCES)
    for seed in args.seeds[:1] if args.quick else args.seeds:
        of = setting(seed)
        for in_groups, h in ((False, H), (True, {**H, **GROUPED})):
            for eps in (1e-8, 1e-2):
                cell = {"check": "trajectory", "seed": seed, "eps": eps, "grouped": in_groups}
                if cell not in rows:
                    rows.add({**cell, "steps": STEPS, "max_difference": trajectory(of, h, eps)})
            cell = {"check": "hypergradient", "seed": seed, "eps": 1e-6, "grouped": in_groups}
            if cell not in rows:
                errors = hypergradient(of, h, steps, sizes)
                rows.add({**cell, "steps": steps, "max_rel_error": max(errors.values()), "rel_error": errors})


if __name__ == "__main__":
    main()
