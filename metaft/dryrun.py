"""--dry-run: open everything, try each kind of work once, say what a run will cost; write nothing."""

from __future__ import annotations

import math
import resource
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from metaft import pipeline, ranks
from metaft.build import last_choice, left_out
from metaft.build.carried import Carried
from metaft.build.fits import finetune_cost, fit_settings, fits, told_methods
from metaft.build.problem import problem_in
from metaft.build.solver import is_online
from metaft.build.sources import fold_parts, sources, trains
from metaft.build.space import objective_of
from metaft.build.workspace import Workspace
from metaft.config.schema import Config
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext
from metaft.finetune.fits import Fit, Memory
from metaft.finetune.loop import train
from metaft.finetune.methods import PLAIN
from metaft.finetune.methods.wise_ft import interpolate
from metaft.metrics import METRICS
from metaft.objective.heads import ZERO_SHOT
from metaft.objective.objective import Objective
from metaft.objective.registry import TERMS
from metaft.provenance import agreed_identity
from metaft.report.tables import markdown
from metaft.search.bilevel import Forecast
from metaft.search.outcome import Outcome
from metaft.search.problem.finetune import FinetuneProblem
from metaft.search.registry import HYPERGRAD

WIDTH = 120  # of a line of text


@dataclass(frozen=True)
class _Gradient:
    """One hypergradient through one step, and forecasts of one through the full inner loop: as set, and in other ways.

    `room` is how many bytes are free.
    """

    outcome: Outcome
    forecast: Forecast
    ways: Mapping[tuple[str, str], Forecast]
    room: float


@dataclass(frozen=True)
class _Measured:
    """One inner step, a hypergradient where the search takes them, the seconds of one evaluation batch.

    `trained` counts the scalars that train in a search; peaks are in bytes, of all so far: `peak` after the inner step,
    `tuned` after a step of a fine-tune, which ends a dry run.
    """

    step: Outcome
    gradient: _Gradient | None
    batch_seconds: float
    dimensions: int
    trained: int
    peak: float
    tuned: float


def dry_run(cfg: Config, source: Objective | Carried | None = None) -> str:
    """Counts, peak memory, estimated times and the cost of the search next to the fine-tune, as text.

    Args:
        source: the objective, which is otherwise searched for.

    Raises:
        DataError, ConfigError: a run could not be opened, the objective does not fit, or its search could not begin.
    """
    cheap = cfg.objective.model_copy(update={"head": ZERO_SHOT})  # steps cost the same; a probe needs all of id_train
    work = ranks.agreed(lambda: pipeline.opened(cfg.model_copy(update={"objective": cheap})))
    learned = ranks.agreed(lambda: pipeline.received(work, source))
    agreed_identity(work)
    told_methods(work)
    searches = learned is None and cfg.search.mode is not None
    if searches:
        pipeline.prepared(work)  # which refuses what a run would
    measured = _measure(work, learned)
    tune_cost = finetune_cost(work)
    tune_seconds = tune_cost * measured.step.seconds / measured.step.step_equivalents
    rows = [
        ["model", cfg.model.name],
        ["trained parameters", f"{measured.trained:,}"],
        ["classes", str(len(work.splits.classes.names))],
        ["models are chosen by", METRICS[work.search.metric].title],
        ["first prompt", work.splits.classes.templates[0].format(work.splits.classes.spoken[0])],
        *([["searched hyperparameters", str(measured.dimensions)]] if searches else []),
        ["one inner step and its outer evaluation", f"{measured.step.seconds:.2f} s"],
        ["one evaluation batch", f"{measured.batch_seconds:.2f} s"],
        ["peak memory, one inner step", f"{measured.peak / 2**20:,.0f} MiB"],
        *_gradient_rows(measured, cfg.inner.steps),
        *(_search_rows(work, measured, tune_seconds, tune_cost) if searches else []),
        ["estimated peak memory, the whole run", f"{_whole(measured) / 2**20:,.0f} MiB"],
        ["estimated fine-tune of one method", _billed(1, tune_seconds, tune_cost)],
        *_leave_one_out(work, learned, tune_seconds, tune_cost),
    ]
    outcomes = [measured.step, *([measured.gradient.outcome] if measured.gradient else [])]
    bad = [outcome.status for outcome in outcomes if outcome.status != "ok"]
    warning = f"\n\nwarning: the first step ended as {', '.join(bad)}" if bad else ""
    parts = [_counts(work), _classes(work), markdown(["dry run", "value"], rows), *_ways(measured)]
    return "\n\n".join(parts) + warning


def _gradient_rows(measured: _Measured, steps: int) -> list[list[str]]:
    """The rows of hypergradients, where the search takes them."""
    if measured.gradient is None:
        return []
    outcome, forecast = measured.gradient.outcome, measured.gradient.forecast
    memory = f"{(measured.peak + forecast.bytes) / 2**20:,.0f} MiB"
    return [
        ["one hypergradient through one step", f"{outcome.seconds:.2f} s"],
        [f"estimated peak memory, hypergradient through {steps} steps", memory],
        ["one hypergradient", f"{forecast.estimator}, {forecast.step_equivalents:,.0f} step equivalents"],
        ["graphs kept, of all inner steps", f"{forecast.graphs} of {steps}"],
    ]


def _ways(measured: _Measured) -> list[str]:
    """The table of the ways to a hypergradient, where the search takes them."""
    if measured.gradient is None:
        return []
    rows = [
        [
            *(f"hypergrad.estimator={estimator} hypergrad.storage={storage}", f"{forecast.step_equivalents:,.0f}"),
            *(
                f"{(measured.peak + forecast.bytes) / 2**20:,.0f}",
                "yes" if forecast.bytes <= measured.gradient.room else "no",
            ),
        ]
        for (estimator, storage), forecast in measured.gradient.ways.items()
    ]
    return [markdown(["ways to a hypergradient", "step equivalents", "peak memory, MiB", "fits"], rows)]


def _search_rows(work: Workspace, measured: _Measured, seconds: float, cost: float) -> list[list[str]]:
    """The rows of the search, beside fine-tunes that take so long."""
    search_cost, search_seconds = _search(work.cfg, measured, cost)
    return [
        ["estimated search", f"{search_seconds:.0f} s, {search_cost:,.0f} step equivalents"],
        ["search / fine-tune", f"{search_cost / cost:.2f}"],
        *_last_choice(work, seconds, cost),
    ]


def _last_choice(work: Workspace, seconds: float, cost: float) -> list[list[str]]:
    """The row of the fine-tunes on folds that end a search, where its objective's share of the way is searched."""
    if not last_choice.is_made(work.cfg):
        return []
    return [["estimated last choice", _billed(len(fold_parts(work)), seconds, cost)]]


def _leave_one_out(work: Workspace, learned: Objective | None, seconds: float, cost: float) -> list[list[str]]:
    """The row of the fine-tunes without each part of an objective, on all and on each fold, where it is asked for."""
    if not work.cfg.evaluation.leave_one_out:
        return []
    searched = len({*work.cfg.objective.terms, *work.cfg.objective.fixed} & set(TERMS)) + len(sources(work))
    parts = searched if learned is None else len(list(left_out.parts(learned)))
    fits = 1 + (len(fold_parts(work)) if trains(work) else 0)
    return [["estimated leave-one-out, at most", _billed(parts * fits, seconds, cost)]]


def _billed(count: int, seconds: float, cost: float) -> str:
    """What so many fine-tunes take."""
    return f"{count * seconds:.0f} s, {count * cost:,.0f} step equivalents"


def _counts(work: Workspace) -> str:
    classes = len(work.splits.classes.names)
    per_class = {name: split.counts(classes) for name, split in work.splits.parts.items()}
    rows = [[name, str(sum(counts)), f"{min(counts)} to {max(counts)}"] for name, counts in per_class.items()]
    return markdown(["split", "images", "per class"], rows)


def _classes(work: Workspace) -> str:
    """Every class in the order of its label: its folder, where it has one, and its name."""
    classes = work.splits.classes
    pairs = zip(classes.folders, classes.names, strict=True) if classes.folders else enumerate(classes.names)
    text = ", ".join(f"{folder} = {name!r}" for folder, name in pairs)
    return textwrap.fill(f"classes: {text}", WIDTH, subsequent_indent="  ", break_long_words=False)


def _measure(work: Workspace, learned: Objective | None) -> _Measured:
    problem = _problem(work, steps=1, stretch=1.0)
    recipe = problem.space.plain(problem.start)
    size = min(work.cfg.evaluation.batch_size, len(work.splits.id_train))
    images = work.splits.id_train.batch(torch.arange(size), work.device).images
    start = time.perf_counter()
    with torch.no_grad():
        work.classifier(images).logits.sum().item()
    seconds = time.perf_counter() - start
    problem.evaluate(recipe, seed=0)  # a first call is slow
    step, peak = problem.evaluate(recipe, seed=0), _peak(work.device)
    gradient = _gradient(work, problem) if learned is None and work.cfg.search.mode == HYPERGRAD else None
    _fine_tune(work, learned or objective_of(work.cfg, recipe))
    return _Measured(
        step=step,
        gradient=gradient,
        batch_seconds=seconds,
        dimensions=len(problem.space),
        trained=sum(work.classifier.get_parameter(name).numel() for name in problem.inner.first.pretrained),
        peak=peak,
        tuned=_peak(work.device),
    )


def _fine_tune(work: Workspace, objective: Objective) -> None:
    """One step of a fine-tune, its check and a mix, for the sake of the memory that they take."""
    splits = work.splits.search_data
    few = splits.id_val.subset(torch.arange(min(len(splits.id_val), work.cfg.evaluation.batch_size)))
    context = FitContext(replace(fit_settings(work), steps=1, checks=1))
    try:
        tuned = train(work.classifier, objective, replace(splits, id_val=few), context, "one step")
    except DivergedError:
        return
    interpolate(work.classifier, tuned, 0.5)


def _whole(measured: _Measured) -> float:
    """Bytes at the peak of a run: of a fine-tune, or of hypergradients through all steps."""
    if measured.gradient is None:
        return measured.tuned
    return max(measured.tuned, measured.peak + measured.gradient.forecast.bytes)


def _gradient(work: Workspace, problem: FinetuneProblem) -> _Gradient:
    """A hypergradient through the one step of a problem, and what one through all steps will take."""
    problem.hypergradient(problem.start, seed=0)  # a first call is slow
    outcome, forecasts = problem.hypergradient(problem.start, seed=0)[0], _problem(work).forecasts
    return _Gradient(outcome, forecasts.of(), forecasts.ways(), forecasts.room)


def _problem(work: Workspace, **inner: Any) -> FinetuneProblem:
    """The search problem with other settings of `inner`; theta_0 stands for a plain fine-tune, which sets the floor."""
    cfg = work.cfg.model_copy(update={"inner": work.cfg.inner.model_copy(update=inner)})
    return problem_in(replace(work, cfg=cfg), fits(work, store=Memory({PLAIN: Fit(work.classifier)})))


def _search(cfg: Config, measured: _Measured, tune_cost: float) -> tuple[float, float]:
    """Step equivalents and seconds of the search, from the limit that will be reached first."""
    further = cfg.inner.steps - 1
    plain_cost = measured.step.step_equivalents + further
    timed, trial_cost = measured.step, plain_cost
    if measured.gradient is not None:
        timed, trial_cost = measured.gradient.outcome, measured.gradient.forecast.step_equivalents
    rate = timed.seconds / timed.step_equivalents
    if is_online(cfg):
        return cfg.hypergrad.share * tune_cost, cfg.hypergrad.share * tune_cost * rate
    trials = cfg.search.trials or math.inf
    cost = min(
        trials * trial_cost / (1 - cfg.search.final_share),
        cfg.search.step_equivalents or math.inf,
        (cfg.search.seconds or math.inf) / rate,
    )
    return cost, cost * rate


def _peak(device: torch.device) -> float:
    """Peak memory in bytes: of the GPU where one is used, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
