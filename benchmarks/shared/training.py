"""Plain fine-tuning by metaft's loop and by a bare one of PyTorch, on the same model, images and optimizer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from metaft import config, pipeline
from metaft.build.fits import fit_settings
from metaft.build.workspace import Workspace
from metaft.clip.classifier import picked_parameters, trainable
from metaft.clip.precision import AUTOCAST
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.finetune.context import FitContext, Forgetful, Keeper
from metaft.finetune.loop import train
from shared.clock import seconds


def workspace(model: str, device: str, *more: str) -> Workspace:
    """The embedded digits beside a model: the toy's own weights, or random ones at full size."""
    random = () if model == "toy-clip" else ("model.pretrained=random",)
    few = ("data.options.id_train=512", "data.options.id_val=64", "data.options.ood_val=64", "data.options.test=64")
    return pipeline.opened(config.load(None, [f"model.name={model}", f"device={device}", *random, *few, *more]))


def ours(
    work: Workspace, split: Split, batch: int, steps: int, checks: int = 1, keeper: Keeper | None = None
) -> list[float]:
    """Plain fine-tuning as `ft` runs it; the seconds of its steps, loading included, those after a check left out."""
    settings = replace(fit_settings(work), steps=steps, checks=checks)
    settings = replace(settings, finetune=settings.finetune.model_copy(update={"batch_size": batch}))
    data, begun = replace(work.splits.search_data, id_train=split), list[float]()

    def steer(step: int, steps: int, state: object) -> object:
        begun.append(time.perf_counter())
        return settings.plain

    context = FitContext(settings, keeper=keeper or Forgetful())
    train(work.classifier, settings.plain, data, context, "ft", steer=steer)
    return _between(begun, steps // checks)


def bare(work: Workspace, split: Split, batch: int, steps: int, *, in_place: bool = False) -> list[float]:
    """The same in PyTorch alone: the same parameters, batches of the same loader, AdamW, and a look at id_val.

    Args:
        in_place: train theta_0 itself, of which nothing is left.
    """
    settings, precision = fit_settings(work), work.classifier.precision
    model = work.classifier if in_place else copy.deepcopy(work.classifier)
    names = trainable(model, text=False, freeze=settings.freeze)
    for name, p in model.named_parameters():
        p.requires_grad_(name in names)
    parameters = list(picked_parameters(model, names).values())
    optimizer = torch.optim.AdamW(parameters, lr=settings.plain.lr, weight_decay=settings.plain.wd)
    generator, size, begun = torch.Generator().manual_seed(settings.seed), min(batch, len(split)), list[float]()
    while len(begun) < steps:
        for rows in torch.randperm(len(split), generator=generator).split(size)[: steps - len(begun)]:
            begun.append(time.perf_counter())
            images = split.batch(rows, work.device)
            optimizer.zero_grad()
            with torch.autocast(work.device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
                features = model.clip(images.images)["image_features"]
            loss = F.cross_entropy(model.head(features.float()), images.labels)
            loss.backward()
            optimizer.step()
            loss.item()
    predict(model, work.splits.id_val, settings.eval_batch_size, work.device)
    return _between(begun, steps)


def flops(work: Workspace, split: Split, batch: int) -> int:
    """The floating-point operations of a step's model, forwards and backwards, by torch's count of its products."""
    model, images = work.classifier, split.batch(torch.arange(batch), work.device)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # others may not be counted
        model.head(model.clip(images.images)["image_features"].float()).sum().backward()
    model.zero_grad()
    return int(counter.get_total_flops())


def matmul_rate(precision: str, device: str, repeats: int = 9) -> float:
    """Floating-point operations a second of large matrix products."""
    size, dtype = (2048 if device == "cpu" else 8192), AUTOCAST.get(precision, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / sorted(seconds(lambda: a @ b, device) for _ in range(repeats))[repeats // 2]


def _between(begun: list[float], every: int) -> list[float]:
    """The seconds between neighbours, but for those with a check in between."""
    return [end - start for n, (start, end) in enumerate(pairwise(begun), 1) if n % every]


def in_turns(runs: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, list[float]]:
    """The seconds of runs that take turns, after one round that is not counted."""
    rounds = [{name: seconds(run, device) for name, run in runs.items()} for _ in range(1 + repeats)]
    return {name: [taken[name] for taken in rounds[1:]] for name in runs}
