"""Which classes are taken for which, and whether confidence can be believed; counts over the tests, no pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from metaft.report import svg
from metaft.report.charts import heat
from metaft.report.document import Document
from metaft.report.markup import NONE, Cell, joined, table
from metaft.report.run import Run
from metaft.report.values import ood_splits
from metaft.report.verdict import PLAIN, ZERO_SHOT, kept

BINS = 15  # of confidence, as `metaft.measures` has them
SQUARE = 30  # classes, up to which all confusions are kept
FEW = 15  # rows of a table of confusions


def body(run: Run) -> Markup:
    """Both of the model handed back, calibration beside two others; nothing where a run has kept neither."""
    name, methods = kept(run), run.results["methods"]
    if name is None:
        return NONE
    names = [n for n in dict.fromkeys((name, PLAIN, ZERO_SHOT)) if n in methods]
    bins = {n: _bins(methods[n]) for n in names}
    drawn = [_calibration({n: b for n, b in bins.items() if b}), _confusion(run, name)]
    return Markup('<div class="pair">{}</div>').format(joined(drawn)) if any(drawn) else NONE


def _splits(method: Document) -> list[str]:
    return ood_splits(list(method)) or list(method)


def _bins(method: Document) -> list[tuple[int, float, float]]:
    """Images, mean confidence and accuracy by bin over the OOD tests together."""
    sums = [[0.0, 0.0, 0.0] for _ in range(BINS)]
    for split in _splits(method):
        for n, sure, right in method[split].get("calibration") or ():
            bin_ = sums[min(int(sure * BINS), BINS - 1)]
            bin_[0], bin_[1], bin_[2] = bin_[0] + n, bin_[1] + n * sure, bin_[2] + n * right
    return [(int(n), sure / n, right / n) for n, sure, right in sums if n]


def _calibration(bins: dict[str, list[tuple[int, float, float]]]) -> Markup:
    if not bins:
        return NONE
    x, y = svg.linear([0, 1], 62, 440), svg.linear([0, 1], 400, 14)
    parts = [svg.axes(x, y, "confidence", "accuracy"), svg.line([(x(0), y(0)), (x(1), y(1))], "dashed thin")]
    for i, (name, points) in enumerate(bins.items()):
        how = f"c{i + 1}"
        parts.append(svg.line([(x(sure), y(right)) for _, sure, right in points], f"{how} thin"))
        for n, sure, right in points:
            said = f"{name}: of {n} images named with {100 * sure:.0f} % confidence {100 * right:.0f} % are right"
            parts.append(svg.mark(x(sure), y(right), svg.MARKS[i], f"{how} full" if i == 0 else how, said, 4.5))
        parts.append(svg.mark(466, 24 + 20 * i, svg.MARKS[i], f"{how} full" if i == 0 else how, name, 4.5))
        parts.append(svg.text(478, 28 + 20 * i, name, "small"))
    told = (
        "Over the OOD tests together: accuracy of images by the confidence in what they are named. Below the dashed "
        "line a model is surer than it is right."
    )
    return svg.figure(450, parts, "Calibration", told, width=620)


def _confusion(run: Run, name: str) -> Markup:
    counts: Counter[tuple[int, int]] = Counter()
    for split in _splits(run.results["methods"][name]):
        for label, said, n in run.results["methods"][name][split].get("confusion") or ():
            counts[label, said] += n
    if not counts:
        return NONE
    classes: Sequence[str] = run.results["provenance"].get("classes") or ()
    size = 1 + max(max(pair) for pair in counts)
    where = f"{name} over the OOD tests together"
    if size <= SQUARE:
        return _matrix(counts, [_class(classes, i) for i in range(size)], where)
    wrong = [(pair, n) for pair, n in counts.most_common() if pair[0] != pair[1]][:FEW]
    rows = [[Cell(_class(classes, a)), Cell(_class(classes, b)), Cell(str(n), number=n)] for (a, b), n in wrong]
    return table(["class", "taken for", "images"], rows, f"The most frequent confusions of {where}")


def _matrix(counts: Counter[tuple[int, int]], names: Sequence[str], where: str) -> Markup:
    totals = [sum(counts[i, j] for j in range(len(names))) for i in range(len(names))]
    cells = [
        [
            (counts[i, j] / max(totals[i], 1), f"{names[i]} taken for {names[j]}: {counts[i, j]} of {totals[i]} images")
            for j in range(len(names))
        ]
        for i in range(len(names))
    ]
    told = f"Rows: what images show; columns, in the same order: what {where} names them; the share of a row."
    return heat(names, names, cells, "Confusions", told)


def _class(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else f"class {number}"
