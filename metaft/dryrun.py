"""--dry-run: open everything, try each kind of work once, say what a run will cost; write nothing."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from metaft import build
from metaft.config import Config
from metaft.report.tables import markdown
from metaft.search.bilevel import Outcome

T = TypeVar("T")


def dry_run(cfg: Config) -> str:
    """Counts, peak memory, estimated times and the cost of the search next to the fine-tune, as text."""
    work = build.workspace(cfg.model_copy(update={"inner": cfg.inner.model_copy(update={"steps": 1})}))
    problem = build.problem_in(work)
    trained = sum(p.numel() for p in work.classifier.trained().values())
    splits = {
        "id_train": work.splits.id_train,
        "id_val": work.splits.id_val,
        "ood_val": work.splits.ood_val,
        **work.splits.tests,
    }
    counts = []
    for name, split in splits.items():
        per_class = split.counts(len(work.splits.classes.names))
        counts.append([name, str(len(split)), f"{min(per_class)} to {max(per_class)}"])

    problem.evaluate(problem.space.plain(problem.start), seed=0)  # the first call of anything is slow
    step, plain = _timed(lambda: problem.evaluate(problem.space.plain(problem.start), seed=0))
    sweep, differentiated = _timed(lambda: problem.hypergradient(problem.start, seed=0)[0])
    some = work.splits.id_train.batch(torch.arange(min(cfg.evaluation.batch_size, len(work.splits.id_train))))
    forward, _ = _timed(lambda: work.classifier(some.images.to(work.device)).logits.sum().item())

    differentiates = cfg.search.mode == "hypergrad"
    per_step = plain.seconds / plain.step_equivalents
    one = differentiated if differentiates else plain
    trial_cost = one.step_equivalents + (cfg.inner.steps - 1) * (3 if differentiates else 1)
    trial_seconds = trial_cost * one.seconds / one.step_equivalents
    finals = (cfg.search.candidates + 1) * cfg.search.candidate_seeds * (cfg.inner.steps + plain.step_equivalents - 1)
    search_cost = min(
        (cfg.search.trials or math.inf) * trial_cost + finals,
        cfg.search.step_equivalents or math.inf,
        (cfg.search.seconds or math.inf) / trial_seconds * trial_cost,
    )
    batch = min(cfg.finetune.batch_size, len(work.splits.id_train))
    steps = cfg.finetune.epochs * (len(work.splits.id_train) // batch)
    tune_cost = steps * batch / problem.batch_size
    rows = [
        ["model", cfg.model.name],
        ["trained parameters", f"{trained:,}"],
        ["classes", str(len(work.splits.classes.names))],
        ["first prompt", work.splits.classes.templates[0].format(work.splits.classes.names[0])],
        ["searched hyperparameters", str(len(problem.space))],
        ["one inner step and its outer evaluation", f"{step:.2f} s"],
        ["one hypergradient through one step", f"{sweep:.2f} s"],
        [f"one evaluation batch of {len(some.labels)}", f"{forward:.2f} s"],
        ["peak memory, one step", f"{_peak(work.device) / 2**20:,.0f} MiB"],
        ["estimated search", f"{search_cost * trial_seconds / trial_cost:.0f} s, {search_cost:,.0f} step equivalents"],
        ["estimated fine-tune of one method", f"{tune_cost * per_step:.0f} s, {tune_cost:,.0f} step equivalents"],
        ["search / fine-tune", f"{search_cost / tune_cost:.2f}"],
    ]
    first = _problem_line(plain, differentiated)
    return "\n\n".join(
        part
        for part in (markdown(["split", "images", "per class"], counts), markdown(["dry run", "value"], rows), first)
        if part
    )


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _problem_line(*outcomes: Outcome) -> str:
    bad = [o.status for o in outcomes if o.status != "ok"]
    return f"warning: the first step ended as {', '.join(bad)}" if bad else ""


def _peak(device: torch.device) -> float:
    """Peak memory in bytes: of the GPU where one is used, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
