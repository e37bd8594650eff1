"""What a hypergradient costs: seconds, memory and error of every estimator and storage, beside plain AdamW.

    python benchmarks/hypergradient.py [--device cpu] [--models toy vit-128 vit-128x12] [--seeds 0 1 2]
        [--repeats 3] [--quick] [--out FILE]

A row is one estimator with one storage on one inner loop: its seconds (median over repeats that alternate with the
plain run), their ratio to the plain run (torch.optim.AdamW on the same loss and batches, its default attention), peak
bytes beside the model, growth of the peak with one more inner step in units of P (the trained parameters' bytes), the
largest T that a GPU's free memory would hold, and the error against float64 of the derivative in the unit cube.
All terms are active, at the recipe. `stock higher` is its own Adam with all graphs kept. `toy` is the embedded default
with its digits: exact ways and differences at batch 32, 128 and 256, with and without hyperparameters for each group of
parameters, all ways at batch 64; `vit-128` (4 layers, 32 px), `vit-128x12` and the models of open_clip are random, on
random images, with the first seed alone. The time with groups alternates with that of the same loop without.
`differences` takes the spacing that it finds once, which is not in its seconds. --quick: toy at batch 32, T = 2.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from statistics import median
from typing import Any

import higher
import open_clip
import torch
import torch.nn.functional as F
from shared.cells import PROTOCOL
from shared.memory import peak_bytes
from shared.rows import Rows, arguments
from shared.workers import pool
from torch import Tensor

from metaft import config, pipeline
from metaft.build import space as spaces
from metaft.build.problem import problem_in
from metaft.clip.classifier import Classifier, grouped, picked_parameters, trainable
from metaft.config.schema import HypergradConfig, StepConfig
from metaft.finetune.trainee import adamw
from metaft.inner import ESTIMATORS, Estimator, Footprint, InnerState, Loop, Step, second_order_attention
from metaft.inner.storage import GIB, SHARE, Plan, footprint_of, free_memory
from metaft.objective import WeightedLoss
from metaft.search.problem.rollout import BilledStep
from metaft.temperature import ce_calibrated
from metaft.training.batches import TrainBatch

TOY = "toy"
LAYERS = {"vit-128": 4, "vit-128x12": 12}
TOWER = {"image_size": 32, "width": 128, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 16, "vocab_size": 512, "width": 64, "heads": 2, "layers": 2}
PER_GROUP = "objective.per_group=[lr, wd, l1init, l1zero, l2init, l2zero]"
DISTINCT = 4  # batches, used in turn
CLASSES = 10
Result = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Cell:
    """One inner loop: a model, a batch size, T steps, whether groups have hyperparameters of their own."""

    model: str
    batch: int
    T: int
    grouped: bool = False
    dtype: str = "float32"


@dataclass(frozen=True)
class Way:
    """One way to a hypergradient; `share` is where a budget of `auto` lies between replay's peak and keep's."""

    estimator: str
    storage: str
    share: float | None = None
    offload: bool = False
    sides: str = "both"

    @property
    def name(self) -> str:
        """The storage with its options."""
        options = [word for word, on in (("offloaded", self.offload), ("one side", self.sides == "one")) if on]
        return ", ".join([self.storage, *options])


STOCK = Way("stock higher", "keep")
FORWARD = Way("forward", "keep")
EXACT = (Way("unroll", "keep"), Way("unroll", "replay"))
SEGMENTS = Way("unroll", "segments")
DIFFERENCES = (Way("differences", "replay"), Way("differences", "replay", sides="one"))
WAYS = (
    *EXACT,
    *DIFFERENCES,
    Way("unroll", "auto", share=0.5),
    SEGMENTS,
    Way("truncated", "replay"),
    Way("one_step", "replay"),
    Way("implicit", "keep"),
    STOCK,
)


class Setting:
    """All that an estimator is called with."""

    def __init__(self, cell: Cell, seed: int, device: str, dtype: torch.dtype | None = None) -> None:
        cfg = config.load(None, [PER_GROUP] if cell.grouped else [])
        make = _embedded if cell.model == TOY else partial(_random, cell.model)
        self.classifier, made = make(cell.batch, seed, device)
        names = trainable(self.classifier, text=True, freeze=cfg.model.freeze)
        if dtype is not None:
            made = [_cast(batch, dtype) for batch in made]  # while theta_0 can still answer in float32
            self.classifier.to(dtype)
        self.last, *distinct = made
        self.batches = [distinct[t % DISTINCT]._replace(last=t == cell.T - 1) for t in range(cell.T)]
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
        self._estimators = dict[Way, Estimator]()

    @property
    def loop(self) -> Loop:
        """The inner loop, of which nothing has been measured."""
        return Loop(self.step, self.state, self.batches, self.h, self.outer)

    @cached_property
    def footprint(self) -> Footprint:
        """What one step's graph takes, measured once, as a search does."""
        return footprint_of(self.loop)

    def outer(self, state: InnerState) -> Tensor:
        return ce_calibrated(self.step.forward(state.params, self.last.images).logits, self.last.labels)

    def estimate(self, way: Way, budget: float | None = None) -> Result:
        """A hypergradient by one way."""
        if way == STOCK:
            return self.stock()
        estimator = self._estimator(way, budget)
        return estimator(replace(self._served(way), footprint=self.footprint if estimator.graphs else None))

    def prepare(self, way: Way, budget: float | None = None) -> None:
        """Measure what a search measures once."""
        if way != STOCK:
            self._estimator(way, budget)

    def _estimator(self, way: Way, budget: float | None) -> Estimator:
        if way not in self._estimators:
            memory = None if budget is None else budget / GIB
            settings = HypergradConfig(storage=way.storage, memory=memory, offload=way.offload, sides=way.sides)
            self._estimators[way] = ESTIMATORS[way.estimator].make(settings).settled(self._served(way))
        return self._estimators[way]

    def _served(self, way: Way) -> Loop:
        """The loop with the hyperparameters that an estimator can differentiate by."""
        refuses = ESTIMATORS[way.estimator].refuses
        if not any(map(refuses, self.h)):
            return self.loop
        able = {name: x for name, x in self.h.items() if not refuses(name)}
        return replace(self.loop, h=able, step=BilledStep(self.step, self.h, lambda _: None, products=0))

    def plain(self) -> None:
        """T steps of ordinary training."""
        model = copy.deepcopy(self.classifier)
        values = {name: float(x) for name, x in self.h.items()}
        params = dict(picked_parameters(model, self.step.pretrained))
        optimizer = adamw(params, values, self.constants)
        for batch in self.batches:
            out = model(batch.images, batch.tokens)
            optimizer.zero_grad()
            self.loss(batch.observe(out, params, self.step.pretrained), values).backward()
            optimizer.step()

    def stock(self) -> Result:
        """The same loop by higher's own patched model and Adam, every graph kept."""
        leaves = {name: x.detach().requires_grad_() for name, x in self.h.items()}
        trained = picked_parameters(self.classifier, self.step.pretrained)
        frozen = [p for p in self.classifier.parameters() if not p.requires_grad]
        optimizer = torch.optim.Adam(
            [{"params": [trained[n] for n in names]} for names in self.groups.values()], eps=self.constants.eps
        )
        optimizer.add_param_group({"params": frozen})
        lr, wd = ([leaves.get(f"{n}@{g}", leaves.get(n)) for g in (*self.groups, "frozen")] for n in ("lr", "wd"))
        names = [name for name, _ in self.classifier.named_parameters()]
        with (
            second_order_attention(),
            higher.innerloop_ctx(self.classifier, optimizer, override={"lr": lr, "weight_decay": wd}) as (model, adam),
        ):
            for batch in self.batches:
                params = dict(zip(names, model.parameters(), strict=True))
                moved = {name: params[name] for name in trained}
                out = model(batch.images, batch.tokens)
                adam.step(self.loss(batch.observe(out, moved, self.step.pretrained), leaves))
            value = ce_calibrated(model(self.last.images).logits, self.last.labels)
        gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return value.detach(), dict(zip(leaves, gradients, strict=True))

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
    return work.classifier, [last, *problem.inner_batches(generator)]


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


def seconds(call: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def reference(cell: Cell, seed: int, device: str) -> Tensor:
    """The derivative in float64."""
    setting = Setting(cell, seed, device, torch.float64)
    return setting.in_cube(setting.estimate(Way("unroll", "replay"))[1])


@lru_cache(maxsize=2)
def opened(cell: Cell, seed: int, device: str) -> Setting:
    """A cell's setting."""
    return Setting(cell, seed, device)


@cache
def observed(cell: Cell, way: Way, seed: int, device: str, budget: float | None) -> tuple[Tensor, int]:
    """A hypergradient in the unit cube, and its peak bytes beside the model."""
    setting = opened(cell, seed, device)
    setting.prepare(way, budget)
    (_, gradient), peak = peak_bytes(lambda: setting.estimate(way, budget), device)
    return setting.in_cube(gradient), peak


def row(
    cell: Cell, way: Way, seed: int, device: str, repeats: int, exact: Tensor | None, apart: Executor
) -> dict[str, Any]:
    """One row; the growth of memory is that from half the steps.

    Memory is observed in a process apart: what the profiler leaves behind slows every later call.
    """
    setting = opened(cell, seed, device)
    budget = None if way.share is None else _budget(setting, cell.T, way.share)
    calls = [setting.plain, lambda: setting.estimate(way, budget)]
    calls[1]()  # the first call of anything is slow
    if cell.grouped:
        few = opened(replace(cell, grouped=False), seed, device)
        calls.append(lambda: few.estimate(way, budget))
    times = [[seconds(call, device) for call in calls] for _ in range(repeats)]
    plain, taken, *rest = (median(column) for column in zip(*times, strict=True))
    gradient, peak = apart.submit(observed, cell, way, seed, device, budget).result()
    _, peak_of_half = apart.submit(observed, replace(cell, T=cell.T // 2), way, seed, device, budget).result()
    bytes_of_p = setting.count * next(setting.classifier.parameters()).element_size()
    growth = (peak - peak_of_half) / (cell.T - cell.T // 2)
    return {
        **_key(cell, way, seed),
        "params": setting.count,
        "K": len(setting.graph),
        "seconds": round(taken, 3),
        "plain_seconds": round(plain, 3),
        "ratio": round(taken / plain, 3),
        "ratio_to_K_11": round(taken / rest[0], 3) if rest else None,
        "peak_bytes": peak,
        "budget_bytes": budget,
        "slope_P": round(growth / bytes_of_p, 2),
        "largest_T": _largest(cell.T, peak, growth, device),
        "rel_error": None if exact is None else float((gradient - exact).norm() / exact.norm()),
        "cosine": None if exact is None else float(F.cosine_similarity(gradient, exact, dim=0)),
    }


def _largest(steps: int, peak: int, growth: float, device: str) -> int | None:
    """The largest T that a GPU's free memory would hold at this growth."""
    if not device.startswith("cuda") or growth <= 0:
        return None
    return int(steps + (free_memory(torch.device(device)) / SHARE - peak) / growth)


def _key(cell: Cell, way: Way, seed: int) -> dict[str, Any]:
    return {**asdict(cell), "estimator": way.estimator, "storage": way.name, "seed": seed}


def _budget(setting: Setting, steps: int, share: float) -> float:
    """A budget between what replay and keep are estimated to need."""
    low, high = (Plan(graphs, steps).peak(setting.footprint, steps) for graphs in (0, steps))
    return low + share * (high - low)


def cells(args: Any) -> Iterator[tuple[Cell, int, tuple[Way, ...]]]:
    """What is measured: inner loops, seeds, ways."""
    first = args.seeds[0]
    if args.quick:
        yield Cell(TOY, 32, 2), first, (*EXACT, *DIFFERENCES, STOCK)
        return
    for model in args.models:
        if model == TOY:
            yield from _toy(args.seeds)
        elif model == "vit-128":
            yield Cell(model, 256, 10), first, WAYS
            ways = (EXACT[1], SEGMENTS, DIFFERENCES[0])
            yield from ((Cell(model, 32, steps), first, ways) for steps in (16, 64))
        elif model == "vit-128x12":
            yield Cell(model, 64, 10, grouped=True), first, (EXACT[0], DIFFERENCES[0])
        else:
            yield from _large(model, first, on_gpu=args.device.startswith("cuda"))


def _toy(seeds: Sequence[int]) -> Iterator[tuple[Cell, int, tuple[Way, ...]]]:
    """The embedded default: its batch, smaller and larger ones, hyperparameters by group, bfloat16."""
    compared, first = (*EXACT, *DIFFERENCES), seeds[0]
    for seed in seeds:
        yield Cell(TOY, 32, 10), seed, compared
        yield Cell(TOY, 32, 10, grouped=True), seed, (*EXACT[:1], *DIFFERENCES)
    yield from ((Cell(TOY, batch, 10), first, compared) for batch in (128, 256))
    for seed in seeds:
        yield Cell(TOY, 64, 10), seed, (*WAYS, FORWARD) if seed == first else (*EXACT[:1], FORWARD)
        yield Cell(TOY, 64, 10, dtype="bfloat16"), seed, (*EXACT[:1], *DIFFERENCES)


def _large(model: str, seed: int, on_gpu: bool) -> Iterator[tuple[Cell, int, tuple[Way, ...]]]:
    """A model of open_clip; on a CPU a small loop of it."""
    if not on_gpu:
        yield Cell(model, 8, 2), seed, (*EXACT, *DIFFERENCES)
        return
    yield Cell(model, 128, 20), seed, (*EXACT, *DIFFERENCES, SEGMENTS, Way("unroll", "replay", offload=True))
    yield Cell(model, 128, 20, dtype="bfloat16"), seed, (*EXACT, *DIFFERENCES)
    yield Cell(model, 128, 200), seed, (SEGMENTS, Way("differences", "segments"))


def main() -> None:
    args = arguments("hypergradient", __doc__, seeds=(0, 1, 2), models=(TOY, *LAYERS), repeats=3)
    rows = Rows("hypergradient", args, ("model", "batch", "T", "grouped", "dtype", "estimator", "storage", "seed"))
    repeats = 1 if args.quick else args.repeats
    with pool(1) as apart:
        for cell, seed, ways in cells(args):
            missing = [way for way in ways if _key(cell, way, seed) not in rows]
            exact = reference(cell, seed, args.device) if missing and cell.model == TOY and not args.quick else None
            for way in missing:
                rows.add(row(cell, way, seed, args.device, repeats, exact, apart))


if __name__ == "__main__":
    main()
