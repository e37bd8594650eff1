"""Inner loops of the embedded toy and of random models, which a hypergradient is measured on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from metaft import config, pipeline
from metaft.build import space as spaces
from metaft.build.problem import problem_in
from metaft.clip.classifier import Classifier, Outputs, grouped, picked_parameters, trainable
from metaft.clip.precision import autocast
from metaft.config.schema import StepConfig
from metaft.finetune.optimizers import adamw
from metaft.inner import Footprint, InnerState, Loop, Step
from metaft.inner.running import RunningStep
from metaft.inner.storage import footprint_of
from metaft.objective import WeightedLoss
from metaft.temperature import ce_calibrated
from metaft.training.batches import TrainBatch
from shared.cells import PER_GROUP, PROTOCOL

TOY = "toy"
LAYERS = {"vit-128": 4, "vit-128x12": 12}
TOWER = {"image_size": 32, "width": 128, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 16, "vocab_size": 512, "width": 64, "heads": 2, "layers": 2}
END = "objective.mix=false"  # the outer loss is that of the end of the loop, as other packages know it
DISTINCT = 4  # batches, used in turn
CLASSES = 10
Result = tuple[Tensor, dict[str, Tensor]]  # the outer loss, and its derivative by each hyperparameter


@dataclass(frozen=True)
class Cell:
    """One inner loop: a model, a batch size, T steps, whether groups have hyperparameters of their own."""

    model: str
    batch: int
    T: int
    grouped: bool = False
    dtype: str = "float32"


class Setting:
    """A cell's model, data, step and hyperparameters: all that an estimator is called with."""

    def __init__(self, cell: Cell, seed: int, device: str, dtype: torch.dtype | None = None) -> None:
        cfg = config.load(None, [END, *([PER_GROUP] if cell.grouped else [])])
        make = _embedded if cell.model == TOY else partial(_random, cell.model)
        self.classifier, made = make(cell.batch, seed, device)
        names = trainable(self.classifier, text=True, freeze=cfg.model.freeze)
        if dtype is not None:
            made = [_cast(batch, dtype) for batch in made]  # while theta_0 can still answer in float32
            self.classifier.to(dtype)
        self.last, *distinct = made
        self.batches = [distinct[t % DISTINCT] for t in range(cell.T)]
        for name, p in self.classifier.named_parameters():
            p.requires_grad_(name in names)
        self.groups = grouped(names)
        self.count = sum(self.classifier.get_parameter(name).numel() for name in names)
        self.loss = WeightedLoss(self.groups, self.count)
        self.constants = StepConfig(precision=cell.dtype if dtype is None else "float32")
        self.step = Step(self.classifier, names, self.loss, self.constants)
        space = spaces.space(cfg, self.groups)
        self.u = spaces.recipe(cfg, space).requires_grad_()
        self.fixed = spaces.fixed(cfg)
        self.graph = space.from_unit(self.u)
        self.h = {
            **{k: torch.tensor(v) for k, v in self.fixed.items()},
            **{k: v.detach() for k, v in self.graph.items()},
        }
        self.state = self.step.initial()

    @property
    def loop(self) -> Loop:
        """The inner loop, of which nothing has been measured."""
        return self.loop_of(self.step)

    def loop_of(self, step: Step) -> Loop:
        """The inner loop with another step of the same model."""
        return Loop(step, self.state, self.batches, self.h, partial(self._judged, step))

    @cached_property
    def recomputing(self) -> Step:
        """The step that computes blocks again for a derivative."""
        return self._running(checkpointing=True)

    @cached_property
    def compiled(self) -> Step:
        """The step whose model is compiled."""
        return self._running(compile=True)

    def _running(self, **how: bool) -> Step:
        constants = self.constants.model_copy(update=how)
        return RunningStep(self.classifier, list(self.step.pretrained), self.loss, constants)

    @cached_property
    def footprint(self) -> Footprint:
        """What one step's graph takes, measured once, as a search does."""
        return footprint_of(self.loop)

    @cached_property
    def footprint_of_halves(self) -> Footprint:
        """The same where a step is differentiated in two halves."""
        return footprint_of(self.loop, graphs=False)

    def _judged(self, step: Step, state: InnerState) -> Tensor:
        """The outer loss at a state."""
        return ce_calibrated(step.forward(state.params, self.last.images).logits, self.last.labels)

    def plain(self) -> Classifier:
        """The model after T steps of ordinary training, its forward passes in the precision of the inner loop's."""
        model = copy.deepcopy(self.classifier)
        values = {name: float(x) for name, x in self.h.items()}
        params = dict(picked_parameters(model, self.step.pretrained))
        optimizer = adamw(params, values, self.constants)
        for batch in self.batches:
            with autocast(self.constants.precision, batch.images.device):
                found = model(batch.images, batch.tokens)
            out = Outputs(*(None if t is None else t.to(model.head.weight) for t in found))
            optimizer.zero_grad()
            self.loss(batch.observe(out, params, self.step.pretrained), values).backward()
            optimizer.step()
        return model

    def in_cube(self, gradient: dict[str, Tensor]) -> Tensor:
        """d value / d u [K], float64; 0 where an estimator gives nothing."""
        zero = torch.zeros((), dtype=torch.float64)
        weights = [gradient[k].double().cpu() if k in gradient else zero for k in self.graph]
        (result,) = torch.autograd.grad(list(self.graph.values()), self.u, weights, retain_graph=True)
        return result


def _embedded(count: int, seed: int, device: str) -> tuple[Classifier, list[TrainBatch]]:
    """The toy CLIP, a batch of OOD validation and batches of digits."""
    overrides = [*PROTOCOL, f"inner.batch_size={count}", f"inner.steps={DISTINCT}", f"seed={seed}"]
    work = pipeline.opened(
        config.load(None, [*overrides, f"device={device}", f"data.options.id_train={DISTINCT * count}"])
    )
    problem, generator = problem_in(work), torch.Generator().manual_seed(seed)
    last = TrainBatch(*problem.outer_batch(generator), None, None)
    return work.classifier, [last, *(batch._replace(pace=1.0) for batch in problem.inner_batches(generator))]


def _random(model: str, count: int, seed: int, device: str) -> tuple[Classifier, list[TrainBatch]]:
    """A model with random weights, and random batches."""
    torch.manual_seed(seed)
    if model in LAYERS:
        tower = {**TOWER, "layers": LAYERS[model]}
        clip = open_clip.CLIP(embed_dim=64, output_dict=True, vision_cfg=tower, text_cfg=TEXT)
    else:
        clip = open_clip.create_model(model, output_dict=True)
    with torch.no_grad():
        width = clip.encode_image(torch.zeros(1, 3, *_size(clip))).shape[1]
    head = 10 * F.normalize(torch.randn(CLASSES, width), dim=1)
    classifier = Classifier(clip, head, torch.zeros(CLASSES)).to(device).eval()
    return classifier, [_batch(classifier, count, device) for _ in range(DISTINCT + 1)]


def _size(clip: Any) -> tuple[int, int]:
    size = clip.visual.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


@torch.no_grad()
def _batch(classifier: Classifier, count: int, device: str) -> TrainBatch:
    """Random images whose labels the model half knows, so that every term has something to do."""
    images = torch.randn(count, 3, *_size(classifier.clip)).to(device)
    out = classifier(images)
    guesses = out.logits.argmax(dim=1)
    labels = torch.where(torch.rand(count, device=device) < 0.5, guesses, guesses.roll(1))
    length = classifier.clip.context_length
    tokens = torch.randint(1, 500, (count, length)).to(device)
    tokens[:, -1] = classifier.clip.vocab_size - 1  # the largest number marks the end of the text
    return TrainBatch(images, labels, tokens, lambda: (out.logits, out.image_features))


def _cast(batch: TrainBatch, dtype: torch.dtype) -> TrainBatch:
    batch = batch._replace(images=batch.images.to(dtype))
    if batch.reference is None:
        return batch
    logits, features = (t.to(dtype) for t in batch.reference())
    return batch._replace(reference=lambda: (logits, features))
