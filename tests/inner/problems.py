"""A CLIP fine-tune of a few thousand parameters in float64, and its slopes by central differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from metaft.clip.classifier import Classifier, grouped, picked_parameters, trainable
from metaft.config.schema import HookConfig, StepConfig
from metaft.hooks.registry import hook_for
from metaft.inner.loop import Footprint, Loop
from metaft.inner.state import InnerState
from metaft.inner.step import Step
from metaft.objective.weighted import WeightedLoss
from metaft.training.batches import TrainBatch

C, B, T = 4, 6, 3
BETAS, EPS = (0.9, 0.999), 1e-4
TOWERS = {
    "vit": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 4, "head_width": 16},
}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
H = {
    **{"ce": 1.0, "dcm": 0.3, "entropy": 0.2, "flyp": 0.4, "hinge": 0.1, "kd": 0.5},
    **{"l1init": 0.05, "l1zero": 0.05, "l2init": 0.1, "l2zero": 0.02, "lr": 1e-3, "wd": 0.2},
}
SET = {  # gates close within T steps
    "lora": {"rank": 2},
    "gmixout": {"every": 2},
    "diff_pruning": {"gate_factor": 3000, "per_mille": 1000},
}
BY_GROUP = {"lr@head": 3e-3, "wd@stem": 0.5, "l2init@block.0.attn": 0.3}


def tiny(tower: str, dtype: torch.dtype = torch.float64, towers=TOWERS) -> Classifier:
    torch.manual_seed(1)
    model = open_clip.CLIP(embed_dim=32, vision_cfg=towers[tower], text_cfg=TEXT, output_dict=True)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    classifier = Classifier(model, 10 * F.normalize(torch.randn(C, 32), dim=1), torch.zeros(C)).to(dtype).eval()
    with torch.no_grad():  # away from the kink of l1zero, where many biases begin
        for p in classifier.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return classifier


def names_of(classifier: Classifier) -> tuple[str, ...]:
    return trainable(classifier, text=True, freeze=())


def parameters_of(classifier: Classifier) -> dict[str, torch.nn.Parameter]:
    return picked_parameters(classifier, names_of(classifier))


def loss_of(classifier: Classifier) -> WeightedLoss:
    trained = parameters_of(classifier)
    return WeightedLoss(grouped(trained), sum(p.numel() for p in trained.values()))


def batches(classifier: Classifier, seed: int = 0) -> list[TrainBatch]:
    g = torch.Generator().manual_seed(seed)
    dtype = classifier.head.weight.dtype
    size = classifier.clip.visual.image_size
    size = size if isinstance(size, int) else size[0]
    made = []
    for _ in range(T + 1):
        images = torch.randn(B, 3, size, size, generator=g, dtype=torch.float64).to(dtype)
        tokens = torch.randint(1, 60, (B, 8), generator=g)
        tokens[:, -1] = 63  # the largest id marks the end of the text
        with torch.no_grad():
            out = classifier(images)
        reference = (out.logits, out.image_features)
        labels = torch.randint(C, (B,), generator=g)
        made.append(TrainBatch(images, labels, tokens, lambda reference=reference: reference))
    return made


@dataclass(frozen=True)
class Problem:
    """A step, the batches of T steps and one more to judge their end by, and where h stands."""

    tower: str
    step: Step
    batches: list[TrainBatch]
    last: TrainBatch
    h: dict[str, Tensor]

    def outer(self, state: InnerState) -> Tensor:
        return F.cross_entropy(self.step.forward(self.step.result(state), self.last.images).logits, self.last.labels)

    def loop(self, footprint: Footprint | None = None, **changes: Any) -> Loop:
        parts = {"step": self.step, "state": self.step.initial(), "batches": self.batches, "h": self.h, **changes}
        return Loop(outer=self.outer, footprint=footprint, **parts)

    def value_at(self, h: dict[str, Tensor]) -> float:
        state = self.step.initial()
        for batch in self.batches:
            state = self.step.plain(state, batch, h)
        with torch.no_grad():
            return float(self.outer(state))

    def difference(self, name: str, relative: float) -> float:
        """A central difference; the larger step suffers from curvature, the smaller from rounding."""
        delta = relative * abs(float(self.h[name]))
        high, low = ({**self.h, name: self.h[name] + sign * delta} for sign in (1, -1))
        return (self.value_at(high) - self.value_at(low)) / (2 * delta)

    def error(self, name: str, gradient: dict[str, Tensor], steps: Sequence[float], bound: float) -> float:
        """The least relative error of a derivative beside differences of some steps, of which one within bound will do.

        Later ones are then not taken: each costs two runs.
        """
        errors = []
        for relative in steps:
            errors.append(abs(self.difference(name, relative) / float(gradient[name]) - 1))
            if errors[-1] < bound:
                break
        return min(errors)


def problem(
    tower: str,
    *,
    by_group: bool = False,
    dtype: torch.dtype = torch.float64,
    classifier=None,
    kind: type[Step] = Step,
    **settings: Any,
) -> Problem:
    classifier = tiny(tower, dtype) if classifier is None else classifier
    constants = StepConfig(betas=BETAS, eps=EPS, **settings)
    step = kind(classifier, names_of(classifier), loss_of(classifier), constants)
    return _on(tower, classifier, step, {**H, **BY_GROUP} if by_group else H)


def hooked(method: str, knobs: dict[str, float], kind: type[Step] = Step, **constants: Any) -> Problem:
    classifier = tiny("vit")
    names = names_of(classifier)
    settings = HookConfig(knobs=SET, lora_targets=("clip.visual.*.attn.in_proj_weight",))
    hook, defaults = hook_for(method, names, settings)
    step = kind(classifier, names, loss_of(classifier), StepConfig(betas=BETAS, eps=EPS, **constants), hook, defaults)
    return _on("vit", classifier, step, {**H, **{f"{method}.{knob}": value for knob, value in knobs.items()}})


def _on(tower: str, classifier: Classifier, step: Step, values: dict[str, float]) -> Problem:
    *inner, last = batches(classifier)
    return Problem(tower, step, inner, last, {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
