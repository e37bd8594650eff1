"""What a run comes to: whether its model helps, by how much, and what speaks against trusting that."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from metaft.report.estimates import ID, Estimate, difference
from metaft.report.run import Run
from metaft.report.values import ood_splits

PLAIN, ZERO_SHOT, CAREFUL, CEILING, LEARNED = "ft", "zero_shot", "best_by_ood_val", "oracle", "autoft"
WORDS = {PLAIN: "plain fine-tuning", ZERO_SHOT: "the zero-shot model", CAREFUL: "a careful choice by hand"}
ENOUGH = 100  # images of ood_val, below which a choice by them is mostly luck
DISAGREEMENT = 0.05  # between a hypergradient and a measured slope, from which it is told
SOME = 0.1  # of all trials
SHOWN = 12  # of the warnings that a run has given as it went


@dataclass(frozen=True)
class Gain:
    """What the model that is handed back has above another method's, out of distribution and in it."""

    over: str
    ood: Estimate | None
    id: Estimate | None


def kept(run: Run) -> str | None:
    """The method whose model is handed back; None: no model is."""
    choice = run.results.get("handed_back")
    return choice["method"] if choice else None


def gain(run: Run, over: str) -> Gain | None:
    """The gain over a method; None where it, or a model that is handed back, is missing."""
    name, methods = kept(run), run.results["methods"]
    if name is None or over not in methods or over == name:
        return None
    mine, other = methods[name], methods[over]
    return Gain(over, *(difference(mine, other, splits) for splits in (ood_splits(list(mine)), [ID])))


def gains(run: Run) -> list[Gain]:
    """The gains over what a person would have without a search, those that are known."""
    found = (gain(run, over) for over in WORDS)
    return [g for g in found if g is not None]


def helped(difference: Estimate | None) -> bool | None:
    """Whether there is more, or less, for sure; None: neither."""
    if difference is None or difference.low <= 0 <= difference.high:
        return None
    return difference.value > 0


def points(difference: Estimate | None) -> str:
    """A difference of shares in points, with its interval."""
    if difference is None:
        return "-"
    return f"{_signed(difference.value)} [{_signed(difference.low)}, {_signed(difference.high)}]"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def share(estimate: Estimate | None) -> str:
    """A share in per cent, with its interval."""
    if estimate is None:
        return "-"
    return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def judges(run: Run) -> int | None:
    """The number of images of ood_val; None: it is not known."""
    told = (run.results["provenance"].get("data") or {}).get("ood_val") or {}
    return told.get("n")


def warnings(run: Run) -> list[str]:
    """What speaks against trusting a run's numbers, the most serious first."""
    found = [_failed, _small, _near, _trials, _checks, _domains]
    more = len(run.warned) - SHOWN
    told = [*run.warned[:SHOWN], *([f"{more} more are in warnings.txt"] if more > 0 else [])]
    return [*run.odd, *(text for rule in found for text in rule(run)), *told]


def _failed(run: Run) -> list[str]:
    return [f"{name} gave no result: {reason}" for name, reason in (run.results.get("failed") or {}).items()]


def _small(run: Run) -> list[str]:
    n = judges(run)
    if not n or n >= ENOUGH:
        return []
    return [
        f"ood_val has {n} images: an accuracy on it is known to within {100 * _error(0.5, n) * 2:.0f} points; "
        f"label {ENOUGH} or more for a choice that is no luck"
    ]


def _near(run: Run) -> list[str]:
    """Whether the runner-up on ood_val is within a standard error: sqrt(p (1 - p) / N), as of one of them alone."""
    name, judged, n = kept(run), run.results.get("ood_val") or {}, judges(run)
    methods = run.results["methods"]
    others = {  # but for the same model under another name
        k: v
        for k, v in judged.items()
        if k not in (name, CEILING, CAREFUL) and methods.get(k) != methods.get(str(name))
    }
    if name not in judged or not others or not n or not 0 <= judged[name] <= 1:
        return []
    second = max(others, key=others.__getitem__)
    if abs(judged[name] - others[second]) > _error(judged[name], n):
        return []
    return [
        f"The choice is within noise: on ood_val {name} has {100 * judged[name]:.1f} % and {second} "
        f"{100 * others[second]:.1f} %, with a standard error of {100 * _error(judged[name], n):.1f} points"
    ]


def _error(p: float, n: int) -> float:
    return sqrt(p * (1 - p) / n)


def _trials(run: Run) -> list[str]:
    bad = [r.outcome.status for r in run.trials if r.outcome.status not in ("ok", "stopped")]
    if not bad:
        return []
    kinds = ", ".join(f"{bad.count(status)} {status}" for status in dict.fromkeys(bad))
    few = "" if len(bad) <= SOME * len(run.trials) else "; many of them: bounds, or learning rates, reach too far"
    return [f"{len(bad)} of {len(run.trials)} trials came to nothing ({kinds}){few}"]


def _checks(run: Run) -> list[str]:
    pairs = [r.gradient for r in run.records if r.kind == "check" and r.gradient is not None]
    off = [(a, b) for a, b in pairs if abs(a - b) > DISAGREEMENT * max(abs(a), abs(b))]
    if not off:
        return []
    claimed, measured = max(off, key=lambda pair: abs(pair[0] - pair[1]))
    return [
        f"{len(off)} of {len(pairs)} hypergradients that were checked are off by more than {100 * DISAGREEMENT:.0f} %, "
        f"the worst {claimed:.3g} where a slope of {measured:.3g} was measured"
    ]


def _domains(run: Run) -> list[str]:
    scores = run.results["methods"].get(kept(run) or "", {})
    few = {d: s["n"] for score in scores.values() for d, s in (score.get("by_domain") or {}).items() if s["n"] < 30}
    if not few:
        return []
    return [f"{len(few)} domains of the tests have fewer than 30 images; their accuracies are rough"]
