"""How exact the inner loop and its hypergradients are, on a CLIP model and in float64.

    python benchmarks/exactness.py [--device cpu] [--seeds 0 1 2] [--quick] [--out FILE]

Rows of `check: trajectory`: the largest difference of any parameter between our step and torch.optim.AdamW over 20
steps, all terms active, for two eps, without and with parameter groups. Rows of `check: hypergradient`: for each
hyperparameter the relative difference between the unrolled hypergradient and a central difference (the best of three
step sizes, 1e-5, 1e-6 and 1e-7 of the value: the larger suffer from curvature, the smaller from rounding).
"""

from __future__ import annotations

import copy
from itertools import islice

import torch
from shared.rows import Rows, arguments
from torch import Tensor
from torch.nn import functional as F

from metaft import build, config
from metaft.clip.classifier import Classifier, train_only
from metaft.finetune.loop import adamw
from metaft.inner import InnerState, Step, estimate
from metaft.objective import WeightedLoss
from metaft.training.batches import TrainBatch

H = {
    **{"ce": 1.0, "dcm": 0.3, "entropy": 0.2, "flyp": 0.4, "hinge": 0.1, "kd": 0.5},
    **{"l1init": 0.05, "l1zero": 0.05, "l2init": 0.1, "l2zero": 0.02, "lr": 1e-3, "wd": 0.2},
}
GROUPED = {"lr@head": 3e-3, "wd@stem": 0.5, "l2init@block.0.attn": 0.3}
BATCH, STEPS = 8, 20


def setting(seed: int) -> tuple[Classifier, list[TrainBatch]]:
    """The toy CLIP in float64, moved off the kinks of the l1 penalties, and batches of digits."""
    work = build.workspace(config.load(None, ["data.options.id_train=400", f"seed={seed}", "device=cpu"]))
    classifier = train_only(copy.deepcopy(work.classifier).double(), text=True, freeze=work.cfg.model.freeze)
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
    return classifier, made


def trajectory(classifier: Classifier, batches: list[TrainBatch], eps: float, grouped: bool) -> float:
    """The largest difference to torch.optim.AdamW over 20 steps."""
    h = {**H, **(GROUPED if grouped else {})}
    loss_of = WeightedLoss(classifier.groups(), sum(p.numel() for p in classifier.trained().values()))
    step, model = Step(classifier, loss_of, (0.9, 0.999), eps), copy.deepcopy(classifier)
    optimizer = adamw(model.trained(), h, (0.9, 0.999), eps)
    state = step.initial()
    for batch in islice(batches, STEPS):
        state = step.plain(state, batch, h)
        out = model(batch.images, batch.tokens)
        optimizer.zero_grad()
        loss_of(batch.observe(out, dict(model.trained()), step.pretrained), h).backward()
        optimizer.step()
    pairs = zip(state.params, model.trained().values(), strict=True)
    return max(float((ours - theirs).detach().abs().max()) for ours, theirs in pairs)


def hypergradient(classifier: Classifier, batches: list[TrainBatch], steps: int, grouped: bool) -> dict[str, float]:
    """The relative error of each component."""
    loss_of = WeightedLoss(classifier.groups(), sum(p.numel() for p in classifier.trained().values()))
    step, last = Step(classifier, loss_of, (0.9, 0.999), 1e-6), batches[-1]
    values = {**H, **(GROUPED if grouped else {})}
    h = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def outer(state: InnerState) -> Tensor:
        return F.cross_entropy(step.forward(state.params, last.images).logits, last.labels)

    @torch.no_grad()
    def judge(state: InnerState) -> float:
        return float(outer(state))

    def value(name: str, factor: float) -> float:
        state = step.initial()
        for batch in batches[:steps]:
            state = step.plain(state, batch, {**h, name: h[name] * factor})
        return judge(state)

    _, gradient = estimate(step, step.initial(), batches[:steps], h, outer)
    errors = {}
    for name in h:
        exact = float(gradient[name] * h[name])
        numeric = [(value(name, 1 + d) - value(name, 1 - d)) / (2 * d) for d in (1e-5, 1e-6, 1e-7)]
        errors[name] = min(abs(n / exact - 1) for n in numeric)
    return errors


def main() -> None:
    args = arguments("exactness", __doc__, seeds=(0, 1, 2))
    rows = Rows("exactness", args, ("check", "seed", "eps", "grouped"))
    steps = 2 if args.quick else 3
    for seed in args.seeds[:1] if args.quick else args.seeds:
        classifier, batches = setting(seed)
        for grouped in (False, True):
            for eps in (1e-8, 1e-2):
                cell = {"check": "trajectory", "seed": seed, "eps": eps, "grouped": grouped}
                if cell not in rows:
                    rows.add({**cell, "steps": STEPS, "max_difference": trajectory(classifier, batches, eps, grouped)})
            cell = {"check": "hypergradient", "seed": seed, "eps": 1e-6, "grouped": grouped}
            if cell not in rows:
                errors = hypergradient(classifier, batches, steps, grouped)
                rows.add({**cell, "steps": steps, "max_rel_error": max(errors.values()), "rel_error": errors})


if __name__ == "__main__":
    main()
