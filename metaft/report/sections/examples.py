"""Pictures of ood_val that the model handed back gets right where another fails, and the reverse."""

from __future__ import annotations

from markupsafe import Markup

from metaft.report.markup import NONE, joined, paragraph
from metaft.report.run import Example, Kind, Run


def body(run: Run) -> Markup:
    """Both kinds, with their numbers; nothing where a run has kept none."""
    told = run.examples
    if told is None:
        return NONE
    first = paragraph(
        f"Of {told.images} OOD validation images {told.method} names {told.fixed.count} rightly that {told.over} does "
        f"not, and fails on {told.broken.count} that {told.over} names rightly, each judged by models that were not "
        "trained on it. No test image is shown."
    )
    return (
        first
        + _kind("Fixed", told.fixed, told.over, told.method)
        + _kind("Broken", told.broken, told.over, told.method)
    )


def _kind(name: str, kind: Kind, over: str, method: str) -> Markup:
    if not kind.shown:
        return NONE
    title = f"{name}: the {len(kind.shown)} clearest of {kind.count}"
    items = joined(_item(example, over, method) for example in kind.shown)
    return Markup('<h3>{}</h3><ul class="pictures">{}</ul>').format(title, items)


def _item(example: Example, over: str, method: str) -> Markup:
    picture = NONE
    if example.picture is not None:
        picture = Markup('<img alt="{}" src="data:image/{};base64,{}" width="96" height="96">').format(
            f"{example.label}, {example.domain}" if example.domain else example.label,
            example.picture.format,
            example.picture.base64,
        )
    domain = Markup("<br>{}").format(example.domain) if example.domain else NONE
    return Markup("<li>{}<b>{}</b>{}<br>{}: {}<br>{}: {}</li>").format(
        picture, example.label, domain, over, example.before, method, example.said
    )
