"""What a report tells beside accuracy on whole splits: other metrics, and accuracy by domain."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from metaft.metrics import METRICS
from metaft.report.document import Document
from metaft.report.values import metrics_of, ood_mean, splits_of, title, written

DOMAINS = 8  # columns of a table by domain
FEW = 30  # groups below which intervals claim too much (Cameron, Gelbach and Miller, 2008)
LOWER = ", ".join(metric.title for metric in METRICS.values() if not metric.higher_is_better)
OTHERS_NOTE = (
    f"Other metrics, means over the OOD tests, in per cent (NLL in nats); lower is better for {LOWER}. Those of every "
    "test, with intervals, are in results.json."
)


def other_metrics(results: Document) -> list[str]:
    """The names of the metrics beside accuracy."""
    return [name for name in metrics_of(results) if name != "accuracy"]


def other_rows(results: Document) -> list[list[str]]:
    """The means over the OOD tests of the metrics that all of these have: a header, and a row a method."""
    methods = results["methods"]
    names = [n for n in other_metrics(results) if any(ood_mean(method, n) is not None for method in methods.values())]
    rows = [[name, *(written(ood_mean(method, n), n) for n in names)] for name, method in methods.items()]
    return [["method", *map(title, names)], *rows] if names else []


def groups_note(results: Document) -> str:
    """On which splits intervals draw whole groups, in one sentence; empty where they draw images."""
    scores = {split: score for method in results["methods"].values() for split, score in method.items()}
    counts = {split: score["groups"] for split, score in scores.items() if score.get("groups")}
    if not counts:
        return ""
    few = f"; fewer than {FEW} make them too narrow" if min(counts.values()) < FEW else ""
    drawn = ", ".join(f"{count} on {split}" for split, count in counts.items())
    return f"Images of a group are alike: intervals draw whole groups, {drawn}{few}."


def by_domain(results: Document) -> dict[str, list[list[str]]]:
    """Accuracy by domain under a caption, for each split that has domains: a header, and a row a method.

    The columns are the domains, the hardest (by the mean over methods) first.
    """
    tables = {}
    for split in splits_of(results):
        scores = {name: method.get(split, {}).get("by_domain") or {} for name, method in results["methods"].items()}
        sizes = {domain: score["n"] for of_method in scores.values() for domain, score in of_method.items()}
        if sizes:
            which = f"the {DOMAINS} hardest of {len(sizes)} domains" if len(sizes) > DOMAINS else "hardest domain first"
            tables[f"Accuracy on {split} by domain (images), {which}."] = _hardest(scores, sizes)
    return tables


def _hardest(scores: Mapping[str, Document], sizes: Mapping[str, int]) -> list[list[str]]:
    """Accuracy in the domains with the lowest mean over methods, from scores by method and domain."""
    accuracies = {
        name: {domain: score["accuracy"] for domain, score in of_method.items()} for name, of_method in scores.items()
    }
    means = {domain: fmean(told[domain] for told in accuracies.values() if domain in told) for domain in sizes}
    hardest = sorted(sizes, key=means.__getitem__)[:DOMAINS]
    rows = [[name, *(written(told.get(domain)) for domain in hardest)] for name, told in accuracies.items()]
    return [["method", *(f"{domain} ({sizes[domain]})" for domain in hardest)], *rows]
