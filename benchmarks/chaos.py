"""Whether a run that was killed anywhere is the same run in the end: whole small runs, bit for bit.

    python benchmarks/chaos.py [--seeds 0 1] [--kills 100] [--kinds ...] [--workers 2] [--quick] [--out FILE]

A kind of run goes once undisturbed, and once more with its write points listed (`undisturbed`, the row that says how
many there are). Then each case disturbs one run and goes on with it until it ends. `random`: SIGKILLs at uniformly
random moments of its length, one to three in a row. `before`, `after`: a SIGKILL around a write point, where a file
takes its place or a line is added; `torn`: after half of a line; `full`: a disk without room there, which must end in
exit code 3 and one line that names the file and how to go on. In `tpe` every write is struck, elsewhere those that
differ from it: of the search, and in `hypergrad` (with folds) and `online` of checkpoints; every second one in
`hypergrad`, every third in `processes`; in `descents`, of which two
are under way at once, and `compared`, whose methods two workers fit, none. `identical` compares
journal, objective, weights, results and events with the undisturbed run, times aside; `difference` is the first thing
that was otherwise. Linux. --quick: one kind, a handful of cases.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.children import Child, preload
from shared.rows import Row, Rows, arguments
from shared.sameness import difference, unfinished
from shared.strikes import FORMS, Watch, recorder, strike
from shared.workers import pool

KEYS = ("kind", "seed", "form", "point")
SMALL = (
    *("data.options.id_train=40", "data.options.id_val=30", "data.options.ood_val=30", "data.options.test=30"),
    *("inner.steps=1", "inner.batch_size=8", "finetune.epochs=1", "finetune.batch_size=20", "evaluation.bootstrap=100"),
    *("search.seconds=null", "search.step_equivalents=null", "search.candidates=1", "search.outer_batch_size=16"),
    *("evaluation.methods=[zero_shot, autoft]", "device=cpu"),
)
JUDGE = ("search.use_ood_labels=judge", "search.id_drop_max=null", "objective.head=zero_shot", "objective.mix=false")
BEFORE = ("identity.json", "config.yaml")  # there is a run
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Kind:
    """A kind of run: its words, its share of random kills, and in which folders each `every`-th write is struck."""

    words: tuple[str, ...]
    share: float
    struck: tuple[str, ...]
    every: int = 1

    def points(self, lines: list[str]) -> list[tuple[int, str, str]]:
        """The number, act and file of each write point that is struck, of all of them as they were listed."""
        points = [(number, *line.split(" ", 1)) for number, line in enumerate(lines, start=1)]
        return [point for point in points if point[2].startswith(self.struck)][:: self.every]


TPE = ("--mode", "tpe", *JUDGE)
HYPERGRAD, ONLINE = ("--mode", "hypergrad"), ("hypergrad.regime=online", "hypergrad.share=12")
COMPARED = (
    "evaluation.methods=[zero_shot, ft, wise_ft, dfr, autoft]",
    *("evaluation.executor=processes", "evaluation.workers=2"),
)
ALL, SEARCH, FITS = "", "search/", "checkpoints/"
KINDS = {
    "tpe": Kind((*TPE, "search.trials=4"), 0.25, (ALL,)),
    "hypergrad": Kind((*HYPERGRAD, "search.trials=8"), 0.3, (SEARCH, FITS), every=2),
    "online": Kind((*HYPERGRAD, *ONLINE, "search.trials=99"), 0.25, (SEARCH, FITS)),
    "processes": Kind((*TPE, "search.trials=2", "search.executor=processes"), 0.12, (SEARCH,), every=3),
    "descents": Kind((*HYPERGRAD, "search.trials=11", "search.executor=processes", "search.workers=2"), 0.12, ()),
    "ray": Kind((*TPE, "search.trials=2", "search.executor=ray"), 0.08, (SEARCH,)),
    "compared": Kind((*TPE, "search.trials=1", *COMPARED), 0.12, ()),
}


@dataclass(frozen=True)
class Case:
    """What happens to one run: SIGKILLs at moments in seconds (`random`), or a form of strike at a write point."""

    kind: str
    seed: int
    form: str
    point: int
    file: str = ""
    moments: tuple[float, ...] = ()

    @property
    def key(self) -> Row:
        """What tells its row from others."""
        return {key: getattr(self, key) for key in KEYS}


def words(kind: str, seed: int, run: Path) -> list[str]:
    """The command line that goes on with a run, or begins it while there is none."""
    if (run / "config.yaml").exists():
        return ["--resume", str(run), "--quiet"]
    return [*SMALL, *KINDS[kind].words, "--seed", str(seed), "--out", str(run), "--quiet"]


def undisturbed(kind: str, seed: int, folder: Path) -> Row:
    """The row of a run in folder/run, and of another one whose write points are listed."""
    run, again, points = folder / "run", folder / "again" / "run", folder / "points"
    again.parent.mkdir(parents=True)
    seconds = _ended_well(Child(words(kind, seed, run), folder / "told"))
    _ended_well(Child(words(kind, seed, again), folder / "told", partial(Watch, again, recorder(points))))
    odd = difference(run, again)
    row = {"kind": kind, "seed": seed, "form": "undisturbed", "point": 0, "seconds": round(seconds, 2)}
    return {**row, "points": points.read_text().splitlines(), "kills": 0, "identical": not odd, "difference": odd}


def _ended_well(child: Child) -> float:
    """The seconds of a child that must end well."""
    code = child.ended()
    assert code == 0, f"{child.words}: exit code {code}\n{child.err}"
    return child.seconds


def disturbed(case: Case, reference: Path) -> Row:
    """The row of a run that something happens to and that goes on to its end, compared with the undisturbed one."""
    with TemporaryDirectory(prefix="chaos-") as place:
        run, told = Path(place) / "run", Path(place) / "told"
        kills, odd = (_killed if case.form == "random" else _struck)(case, run, told)
        last = Child(words(case.kind, case.seed, run), told)
        code = last.ended()
        odd += _outlived(last)
        odd += [f"unfinished {name}" for name in unfinished(run)]
        odd.append(difference(reference, run) if code == 0 else f"resumed, it ends with {code}: {last.err[-500:]}")
    said = "; ".join(filter(None, odd))
    what = {"file": case.file, "moments": [round(moment, 2) for moment in case.moments]}
    return {**case.key, **what, "kills": kills, "identical": not said, "difference": said}


def _killed(case: Case, run: Path, told: Path) -> tuple[int, list[str]]:
    """Kill a run at each moment in turn; how often that came before its end, and what was wrong."""
    kills, odd = 0, list[str]()
    for moment in case.moments:
        child = Child(words(case.kind, case.seed, run), told)
        code = child.killed_after(moment)
        kills += code == KILLED
        odd += _outlived(child)
        odd += [] if code in (0, KILLED) else [f"exit code {code}: {child.err[-500:]}"]
    return kills, odd


def _struck(case: Case, run: Path, told: Path) -> tuple[int, list[str]]:
    """Strike a run at its point; how often it was killed, and what was wrong."""
    child = Child(words(case.kind, case.seed, run), told, partial(Watch, run, strike(case.point, case.form)))
    code = child.ended()
    odd = _outlived(child)
    if case.form == "full":
        return 0, odd + _badly_told(case, code, child.err, run)
    return int(code == KILLED), odd + ([] if code == KILLED else [f"exit code {code} where it should be killed"])


def _outlived(child: Child) -> list[str]:
    return [f"{len(left)} processes outlived it" for left in [child.leftovers()] if left]


def _badly_told(case: Case, code: int, err: str, run: Path) -> list[str]:
    """What is wrong with how a full disk was told of."""
    lines, begun = err.splitlines(), case.file not in BEFORE
    wrong = {
        f"exit code {code} on a full disk": code != 3,
        f"said {err[-500:]!r}": len(lines) != 1 or not err.startswith("error: "),
        f"{case.file} is not named": str(run / case.file) not in err,
        f"the way on is {'not told' if begun else 'told before there is one'}": (f"--resume {run}" in err) != begun,
    }
    return [what for what, is_so in wrong.items() if is_so]


def cases(row: Row, kills: float, struck: bool, quick: bool) -> Iterator[Case]:
    """What is to happen to runs like the undisturbed one of this row."""
    kind, seed = row["kind"], row["seed"]
    draw, number = random.Random(f"{kind} {seed}"), 0
    while kills > 0:
        moments = tuple(draw.uniform(0, row["seconds"]) for _ in range(draw.choice((1, 1, 2, 3))))
        yield Case(kind, seed, "random", number, moments=moments)
        kills, number = kills - len(moments), number + 1
    wanted = KINDS[kind].points(row["points"]) if struck else []
    for n, act, file in wanted[6:7] if quick else wanted:
        for form in FORMS[act]:
            yield Case(kind, seed, form, n, file)


def measure(
    rows: Rows, made: ProcessPoolExecutor, kind: str, seed: int, kills: float, struck: bool, quick: bool
) -> None:
    """Add the rows of one kind and seed that are not there."""
    cell = {"kind": kind, "seed": seed, "form": "undisturbed", "point": 0}
    known = [row for row in rows.rows if all(row[key] == cell[key] for key in KEYS)]
    if known and all(case.key in rows for case in cases(known[0], kills, struck, quick)):
        return
    with TemporaryDirectory(prefix="chaos-") as place:
        row = made.submit(undisturbed, kind, seed, Path(place)).result()
        if not known:
            rows.add(row)
        todo = [case for case in cases(row, kills, struck, quick) if case.key not in rows]
        for done in as_completed([made.submit(disturbed, case, Path(place) / "run") for case in todo]):
            rows.add(done.result())


def main() -> None:
    args = arguments("chaos", __doc__, seeds=(0, 1), kills=100, kinds=KINDS, workers=2)
    has_ray = find_spec("ray") is not None
    rows = Rows("chaos", args, KEYS, more=("ray",) if has_ray else ())
    kinds, seeds, kills = (["tpe"], args.seeds[:1], 4) if args.quick else (args.kinds, args.seeds, args.kills)
    if "ray" in kinds and not has_ray:
        print("ray is not installed: its runs are left out")
        kinds = [kind for kind in kinds if kind != "ray"]
    with pool(args.workers, preload) as made:
        for seed, kind in product(seeds, kinds):
            share = KINDS[kind].share * kills / len(seeds)
            measure(rows, made, kind, seed, share, struck=seed == seeds[0], quick=args.quick)


if __name__ == "__main__":
    main()
