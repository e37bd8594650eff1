"""What all solvers share: a budget, trials with their journal, and the last choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import FinalChoice
from metaft.errors import DivergedError
from metaft.names import ALPHA
from metaft.progress import bar, warn
from metaft.search.bilevel import BilevelProblem, Budget, Choice, Maturing, Sloped, first_points, folds_of, seed_for
from metaft.search.evaluations import Differentiation, Evaluated, Evaluation, evaluated
from metaft.search.executors.pool import Pool
from metaft.search.journal import Journal
from metaft.search.lines import Record, Start
from metaft.search.outcome import MIXES, Outcome
from metaft.search.rates import at_rates
from metaft.search.stopping import medians, none_left, refuse_hopeless
from metaft.space import Categorical, Space

DISAGREEMENT = 0.05  # between a derivative and a slope, from which a check is reported
HYPERGRADIENT = 3.0  # the number of evaluations that a hypergradient counts as
FEWEST = 3  # finalists, from which two rungs are better than one with twice as many
BOLD = (3.0,)  # times a finalist's learning rates
RUNGS = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the final fine-tune's length, to which ever fewer finalists are tried
Finals = tuple[dict[int, Mapping[str, Any]], dict[int, list[float]]]  # points and values by number


def finalists(final: FinalChoice, evaluations: float, most: int | None = None) -> tuple[int, int]:
    """The number of finalists beside the recipe, and of seeds for each, after a search of `evaluations`.

    Together they take `final_share` of all evaluations. More finalists come first, what is left goes to more seeds.

    Args:
        most: a further limit on finalists, beside `final.candidates`.
    """
    allowed = final.final_share / (1 - final.final_share) * evaluations
    count = min(max(1, math.floor(allowed) - 1), most or final.candidates, final.candidates)
    return count, max(1, math.floor(allowed / (count + 1)))


def ranked(trials: Iterable[Record]) -> list[Mapping[str, Any]]:
    """The points of trials that ran to the end, each once, by the mean of their values, the lowest first."""
    values: dict[tuple[Any, ...], list[float]] = {}
    points: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for record in (r for r in trials if r.outcome.status != "stopped"):
        key = tuple(record.params.values())
        values.setdefault(key, []).append(record.outcome.value)
        points.setdefault(key, record.params)
    return [points[key] for key in sorted(points, key=lambda key: fmean(values[key]))]


def _varied(space: Space, points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The same points, but the first of every combination of categories before any second one."""
    names = [d.name for d in space if isinstance(d, Categorical)]
    seen: set[tuple[Any, ...]] = set()
    first: list[Mapping[str, Any]] = []
    for point in points:
        kind = tuple(point.get(name) for name in names)
        if kind not in seen:
            seen.add(kind)
            first.append(point)
    return [*first, *(point for point in points if point not in first)]


def _best_mix(params: Mapping[str, Any], ended: Sequence[Outcome]) -> tuple[Mapping[str, Any], list[float]]:
    """A point with its best share of the way by the mean over outcomes, and its values there."""
    if not all(outcome.mixes for outcome in ended):
        return params, [outcome.value for outcome in ended]
    best = min(range(len(MIXES)), key=lambda i: fmean(outcome.mixes[i] for outcome in ended))
    return {**params, ALPHA: MIXES[best]}, [outcome.mixes[best] for outcome in ended]


class Session:
    """One search, as a context manager that shows its progress.

    A journal with records is continued: its trials count towards the budget and their numbers go on.

    Raises:
        DataError: on entering, where the journal is of another space.
    """

    def __init__(
        self, problem: BilevelProblem, budget: Budget, journal: Journal, seed: int, final: FinalChoice
    ) -> None:
        self.problem, self.journal = problem, journal
        self._budget, self._seed, self._final = budget, seed, final

    def __enter__(self) -> Session:
        self.journal.bind(self.problem.space)
        self._bar = bar("search", total=100, unit="%")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def trials(self) -> list[Record]:
        """Finished trials, by number."""
        return self.journal.trials

    def exhausted(self, share: float = 1.0) -> bool:
        """Whether `share` of the budget, less the last choice's part, is used up; updates the progress bar.

        Trials under way count with the mean cost of the others.
        """
        ended = self.trials
        begun = max(len(self.journal.starts), len(ended))
        mean = fmean(r.outcome.step_equivalents for r in ended) if ended else 0.0
        cost = self.step_equivalents + (begun - len(ended)) * mean
        left = 1 - self._final.final_share
        spent = self._budget.spent(begun, self.journal.clock / left, cost / left)
        self._bar.update(min(100.0, round(100 * spent)) - self._bar.n)
        return spent >= share and begun > 0

    @property
    def step_equivalents(self) -> float:
        """The cost of this search so far; trials of an earlier one do not count."""
        return sum(r.outcome.step_equivalents for r in self.journal.records if r.kind != "prior")

    def begin(
        self, number: int, params: Mapping[str, Any], *, stopping: bool = False, beside: int | None = None
    ) -> Evaluation:
        """A new trial at a point in natural units.

        Args:
            stopping: whether the medians of others may stop it.
            beside: the number of a trial with whose batches it runs, so that the two can be compared.
        """
        start = Start(number, dict(params), self._seed_of("trial", number if beside is None else beside))
        self.journal.start(start)
        return self.begun(start, stopping=stopping)

    def _seed_of(self, purpose: str, number: int) -> int:
        """The seed of one of many runs; where parts of the outer set judge in turn, runs in a row take each once."""
        seed, folds = seed_for(self._seed, purpose, number), folds_of(self.problem)
        return seed // folds * folds + number % folds

    def begun(self, start: Start, *, stopping: bool = False) -> Evaluation:
        """A trial that has begun."""
        rule = medians(self.trials) if stopping else None
        return Evaluation("trial", start.number, start.params, start.seed, rule)

    def end(self, it: Evaluation | Differentiation, ended: Evaluated) -> None:
        """Journal what came of an evaluation."""
        outcome, gradient, reports = ended.outcome, ended.gradient, ended.reports
        self._record(Record(it.kind, it.number, it.params, it.seed, outcome, gradient, reports))

    def hypergradients(self, points: Mapping[int, Tensor], workers: Pool) -> list[Record]:
        """Trials at points of the unit cube by number, with their derivatives: NaN where a run failed.

        Those that the journal holds are not run again.
        """
        absent = tuple(math.nan for _ in self.problem.space)
        for done in workers.run([self._at(number, u) for number, u in points.items() if not self.has_ended(number)]):
            ended = evaluated(done)
            self.end(done.job, replace(ended, gradient=ended.gradient or absent))
        return [trial for trial in self.trials if trial.number in points]

    def _at(self, number: int, u: Tensor) -> Differentiation:
        params, seed = self.problem.space.plain(u), self._seed_of("trial", number)
        return Differentiation(number, tuple(u.tolist()), params, seed)

    def has_ended(self, number: int) -> bool:
        """Whether the journal holds the outcome of a trial."""
        return any(r.number == number and r.kind == "trial" for r in self.journal.records)

    def check(self, u: Tensor, trial: Record) -> None:
        """Compare a trial's derivative with the slope along a random direction, once; a disagreement is reported.

        Problems without a method `slope` are left unchecked. The journal keeps (claimed, measured) as a `check`.
        """
        checked = any(r.number == trial.number and r.kind == "check" for r in self.journal.records)
        if checked or not isinstance(self.problem, Sloped):
            return
        gradient = torch.tensor(trial.gradient, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed_for(self._seed, "check", trial.number))
        direction = torch.randn(len(u), generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        outcome, measured = self.problem.slope(u, direction, trial.seed)
        claimed = float(gradient @ direction)
        self._record(Record("check", trial.number, trial.params, trial.seed, outcome, (claimed, measured)))
        typical = float(gradient.norm()) / math.sqrt(len(u))
        if not abs(claimed - measured) <= DISAGREEMENT * max(abs(measured), typical):
            slopes = f"{claimed:.4g}, forward mode {measured:.4g}"
            warn(f"search: trial {trial.number}: hypergradient gives a slope of {slopes}")

    def conclude(self, workers: Pool, proposed: Sequence[Mapping[str, Any]] = ()) -> Choice:
        """Evaluate proposed points, the best trials and the recipe again; settle on the best mean.

        A problem that can tell what fine-tunes become is asked for that, by successive halving as far as the budget
        goes; any other evaluates on fresh seeds.

        Args:
            proposed: points in natural units that are no trials; they are numbered after them, and if there are any,
                at most one trial beside the recipe is evaluated again on fresh seeds.

        Raises:
            DivergedError: no trial, or no finalist on all of its seeds, gave a finite value.

        Source: Jamieson and Talwalkar, Non-stochastic best arm identification, AISTATS 2016 (successive halving).
        """
        trials = self.trials
        ok = sorted((r for r in trials if r.outcome.status == "ok"), key=lambda r: r.outcome.value)
        if not ok:
            raise none_left(trials)
        chosen, values = self._matured(proposed, workers) or self._repeated(ok, proposed, workers)
        means = {number: fmean(v) for number, v in values.items()}
        winner = min(means, key=means.__getitem__)
        if not math.isfinite(means[winner]):
            raise DivergedError("search: every finalist diverged on a fresh seed; narrow objective.bounds")
        return Choice(
            params=dict(chosen[winner]),
            value=means[winner],
            trials=len(trials),
            step_equivalents=self.step_equivalents,
            seconds=self.journal.clock,
            finalists=[{"number": n, "mean": means[n], "values": v} for n, v in values.items()],
        )

    def _repeated(self, ok: Sequence[Record], proposed: Sequence[Mapping[str, Any]], workers: Pool) -> Finals:
        """Finalists, and the values of each after the inner loop on the same fresh seeds."""
        trials = self.trials
        evaluations = sum(1.0 if r.gradient is None else HYPERGRADIENT for r in trials)
        count, rounds = finalists(self._final, evaluations, most=len(proposed) + 1 if proposed else None)
        again = ok[: max(0, count - len(proposed))]
        chosen: dict[int, Mapping[str, Any]] = {len(trials) + i: params for i, params in enumerate(proposed)}
        chosen |= {r.number: r.params for r in (*again, trials[0])}
        outcomes = self._evaluated(chosen, [seed_for(self._seed, "final", i) for i in range(rounds)], workers)
        return chosen, {n: [o.value for o in ended] for n, ended in outcomes.items()}

    def _matured(self, proposed: Sequence[Mapping[str, Any]], workers: Pool) -> Finals | None:
        """Finalists, and what becomes of each in every fold after the longest fine-tune that it was granted.

        Each is tried with higher learning rates too, as short inner loops favour low ones. Half of them go on to twice
        the length. None where the problem cannot tell, or the budget holds no two of them.

        Source: Wu et al., Understanding short-horizon bias in stochastic meta-optimization, ICLR 2018.
        """
        problem = self.problem
        if not isinstance(problem, Maturing):
            return None
        left, cost = self._left, {share: problem.folds * problem.price(share) for share in RUNGS}
        most = math.floor(left / cost[RUNGS[0]])  # on the first rung; half as many leave as much for the second
        count = min(self._final.candidates, most // 2 if most >= 2 * FEWEST else most)
        points = self._candidates(proposed)[:count]
        chosen: dict[int, Mapping[str, Any]] = {len(self.trials) + i: point for i, point in enumerate(points)}
        left_over = list(chosen)
        values: dict[int, list[float]] = {}
        for rung, share in enumerate(RUNGS):
            left -= len(left_over) * cost[share]
            if len(left_over) < 2 or left < 0:
                break
            base = seed_for(self._seed, "rung", rung) // problem.folds * problem.folds
            seeds = [base + fold for fold in range(problem.folds)]
            outcomes = self._evaluated({n: chosen[n] for n in left_over}, seeds, workers, share)
            for number, ended in outcomes.items():
                chosen[number], values[number] = _best_mix(chosen[number], ended)
            left_over = sorted(left_over, key=lambda n: fmean(values[n]))[: math.ceil(len(left_over) / 2)]
            values = {n: values[n] for n in left_over}
        return (chosen, values) if values else None

    def _candidates(self, proposed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What to try as fine-tunes, the likeliest first: the search's end, the best suggestion, the former bolder."""
        space, suggested = self.problem.space, first_points(self.problem)[1:]
        tried = ranked(self.trials)
        lead = proposed[0] if proposed else tried[0]
        best_suggestion = [point for point in tried if point in suggested][:1]
        points = [lead, *best_suggestion, *at_rates(space, lead, BOLD), *proposed[1:], *_varied(space, tried)]
        return [point for i, point in enumerate(points) if point not in points[:i]]

    @property
    def _left(self) -> float:
        """The step equivalents that the budget held after the trials; those of seconds at the rate of the trials."""
        trials = self.trials
        spent, clock = sum(r.outcome.step_equivalents for r in trials), max(r.clock for r in trials)
        limits = [] if self._budget.step_equivalents is None else [self._budget.step_equivalents - spent]
        if self._budget.seconds is not None:
            limits.append((self._budget.seconds - clock) * spent / max(clock, 1e-9))
        return min(limits, default=0.0)

    def _evaluated(
        self,
        chosen: Mapping[int, Mapping[str, Any]],
        seeds: Sequence[int],
        workers: Pool,
        share: float | None = None,
    ) -> dict[int, list[Outcome]]:
        """Each finalist's outcomes on the same seeds; what the journal holds is not evaluated again."""
        outcomes = {(r.number, r.seed): r.outcome for r in self.journal.records if r.kind == "final"}
        jobs = [
            Evaluation("final", n, point, seed, share=share)
            for seed in seeds
            for n, point in chosen.items()
            if (n, seed) not in outcomes
        ]
        for done in workers.run(jobs):
            ended = evaluated(done)
            self.end(done.job, ended)
            outcomes[done.job.number, done.job.seed] = ended.outcome
        return {n: [outcomes[n, seed] for seed in seeds] for n in chosen}

    def _record(self, record: Record) -> None:
        self.journal.append(record)
        refuse_hopeless(r.outcome for r in self.journal.records if r.kind == "trial")
        best = min((r.outcome.value for r in self.trials), default=float("inf"))
        self._bar.set_postfix_str(f"{len(self.trials)} trials, best {best:.4f}")
