"""What speaks against trusting the numbers, before any of them."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from metaft.report.markup import NONE, bullets
from metaft.report.run import Run
from metaft.report.verdict import warnings


def body(runs: Sequence[Run]) -> Markup:
    """A list of warnings, with the run's name where there are several runs; nothing where nothing is wrong."""
    found = [(run.label, text) for run in runs for text in warnings(run)]
    told = [text if len(runs) == 1 else f"{name}: {text}" for name, text in found]
    return bullets([f"{text}." for text in told], "warnings") if told else NONE
