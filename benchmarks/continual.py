"""What is left of earlier styles, and of pretraining, when a model is fine-tuned on one style after the other.

    python benchmarks/continual.py [--device cpu] [--seeds 0 1 2] [--workers 2] [--methods NAME ...]
                                   [--styles NAME ...] [--quick] [--out FILE]

A sequence has five ID styles of shapes, in an order that turns with the seed; a method trains on each from the model
that it had after the one before, to which it stays close in the way it has. A row is a method after so many styles: its
accuracy on the ID test of every style, those to come included, and on pictures of pretraining (shared/pretrained.py).
From the whole sequence follow the average accuracy after the last style and the backward transfer (Lopez-Paz and
Ranzato, Gradient episodic memory, NeurIPS 2017). `rehearsal` goes over images of pretraining for so much of its loss
(`share`); `autoft` searches anew on every style, by hypergradients, with the OOD validation of all, on which it trains
as `ft_ood_val` does and by which `wise_ft` chooses its mix. Nothing is chosen by tests, and every style has the default
fine-tune.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.cells import CONFIGS, PRETRAININGS, QUICK, collect, fits_in, pretrain, score
from shared.pretrained import recognised
from shared.rows import RESULTS, Row, Rows, arguments

from metaft import config, pipeline
from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.data.drawing import styles as drawing
from metaft.errors import DivergedError
from metaft.finetune.methods import LEARNED
from metaft.search.journal import Journal

KEYS = ("seed", "method", "share", "style")
KNOWN = tuple(name for name in drawing.STYLES if name not in drawing.STYLE_SETS["validation"])
STYLES = ("photo", "poster", "watercolour", "clipart", "sticker")
METHODS = ("ft", "wise_ft", "ft_ood_val", "ftp", "l2_sp", "kd", "rehearsal", "autoft")
SHARES = (0.05, 0.1, 0.2)  # of rehearsal in the loss; ft has none
BUDGET = ("search.mode=hypergrad", "search.seconds=null", "search.step_equivalents=1000")
QUICK_BUDGET = (
    *("search.mode=hypergrad", "search.seconds=null", "search.step_equivalents=20", "inner.steps=2"),
    *("search.candidates=1", "search.outer_batch_size=40", "data.options.ood_val=60"),
)


def order(styles: Sequence[str], seed: int) -> list[str]:
    """The styles of a seed, one after the other."""
    first = seed % len(styles)
    return [*styles[first:], *styles[:first]]


def opened(styles: Sequence[str], style: str, seed: int, device: str, quick: bool) -> Workspace:
    """The data of a style, whose tests are its own and those of all others."""
    others = ", ".join(other for other in styles if other != style)
    words = [
        "data.options.val_styles=validation",
        f"data.options.style={style}",
        f"data.options.test_styles=[{others}]",
        "data.options.colour_correlation=0.5",
    ]
    where = [f"model.pretrained=seed-{0 if quick else seed % PRETRAININGS}", f"seed={seed}", f"device={device}"]
    sizes = (*QUICK, *QUICK_BUDGET) if quick else BUDGET
    return pipeline.opened(config.load(CONFIGS / "shapes.yaml", [*words, *where, *sizes]))


def sequence(styles: Sequence[str], method: str, share: float | None, seed: int, device: str, quick: bool) -> list[Row]:
    """The rows of a method over all styles of a seed, two where it is to be quick."""
    rows, model = list[Row](), None
    for style in order(styles, seed)[: 2 if quick else None]:
        work = opened(styles, style, seed, device, quick)
        work = work if model is None else replace(work, classifier=model)
        row = {"seed": seed, "method": method, "share": share, "style": style, "number": len(rows)}
        try:
            model = fitted(work, method, share)
        except DivergedError as error:
            return [*rows, {**row, "failed": str(error)}]
        rows.append({**row, "accuracy": by_style(work, model, styles, style), "pretraining": recognised(work, model)})
    return rows


def fitted(work: Workspace, method: str, share: float | None) -> Classifier:
    """The model of a method that begins at a workspace's classifier."""
    knobs = {} if share is None else {method: {"share": share}}
    fits = fits_in(work, finetune=work.cfg.finetune.model_copy(update={"knobs": knobs}))
    if method in LEARNED:
        found = pipeline.find(work, pipeline.prepared(work), Journal(), fits)
        fits = replace(fits, context=fits.context.varied(learned=found.objective))
    return fits.model(method)


def by_style(work: Workspace, model: Classifier, styles: Sequence[str], style: str) -> Row:
    """The accuracy on the test of every style, of which this one is the last that was trained on."""
    tests = {name.removeprefix("ood_test/"): split for name, split in work.splits.tests.items()}
    tests[style] = tests.pop("id_test")
    return {name: score(work, model, tests[name]) for name in styles}


def jobs(args: Any, rows: Rows) -> Iterator[tuple[Any, ...]]:
    """The sequences still to be measured."""
    methods, seeds = (("ft", "rehearsal"), args.seeds[:1]) if args.quick else (args.methods, args.seeds)
    for seed in seeds:
        last = order(args.styles, seed)[: 2 if args.quick else None][-1]
        for method in methods:
            for share in SHARES[-1 if args.quick else 0 :] if method == "rehearsal" else (None,):
                if {"seed": seed, "method": method, "share": share, "style": last} not in rows:
                    yield sequence, args.styles, method, share, seed, args.device, args.quick


def refuse(styles: Sequence[str], out: Path) -> None:
    """Refuse an order in which a style is unknown, alone or there again, or whose rows would mix with others.

    Raises:
        SystemExit: it is so.
    """
    again = [name for name, number in Counter(styles).items() if number > 1]
    unknown = [name for name in styles if name not in KNOWN]
    allowed = f"at least two of {', '.join(KNOWN)}, each once"
    if again or unknown or len(styles) < 2:
        found = f"{again[0]!r} more than once" if again else repr(unknown[0]) if unknown else f"{len(styles)} of them"
        raise SystemExit(f"--styles: {found}; allowed: {allowed}")
    if tuple(styles) != STYLES and out.is_relative_to(RESULTS):
        raise SystemExit(f"--styles: rows of another order in {out}; allowed: --out FILE, so that they never mix")


def main() -> None:
    args = arguments("continual", __doc__, seeds=(0, 1, 2), workers=2, methods=METHODS, styles=STYLES)
    refuse(args.styles, args.out)
    rows = Rows("continual", args, KEYS)
    if not args.quick:
        pretrain([seed % PRETRAININGS for seed in args.seeds], args.device)
    collect(rows, jobs(args, rows), args.workers)


if __name__ == "__main__":
    main()
