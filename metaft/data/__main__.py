"""python -m metaft.data NAME --root DIR [key=value ...]: what of a data set lies there, and a few of its pictures."""

from __future__ import annotations

import argparse
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaft.config.paths import place
from metaft.config.read import load
from metaft.config.schema import DataConfig
from metaft.data import registry, wilds
from metaft.errors import ConfigError, DataError, Fault, unknown
from metaft.files import refuse_unwritable, replacing, unwritable
from metaft.progress import silence
from metaft.report.tables import markdown
from metaft.shell import answered, leave

if TYPE_CHECKING:  # so that help answers at once
    from metaft.data.sets.entry import Entry, SetOptions
    from metaft.data.types import Split, Splits

PROG = "python -m metaft.data"
MISSING = "missing"
SOFTWARE = "metaft data"  # what a sheet names in its text
OWN_SPLIT = "-"


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line; returns the exit code: 0 where the data set can be used."""
    args = parser(prog).parse_intermixed_args(argv)
    return answered(lambda: _shown(args))


def _shown(args: argparse.Namespace) -> int:
    """Print what the data set has and write its sheet."""
    _refuse_unwritable(args.out)
    data, seed = settings(args.name, args.root, args.settings), load(None, [f"seed={args.seed}"]).seed
    print(_declared(data), end="")
    splits = _opened(data, seed)
    print(splits_table(splits))
    _write_sheet(splits, seed, args.out)
    print(f"\nwrote {args.out}")
    return 0


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("name", metavar="NAME", help="a data set or format: see python -m metaft.run --list datasets")
    parser.add_argument(
        "settings", nargs="*", default=[], metavar="key=value", help="settings of data.options or of data"
    )
    parser.add_argument("--root", type=place, metavar="DIR", help="the folder that holds it")
    parser.add_argument(
        "--out", type=place, default=Path("contact_sheet.png"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn")
    return parser


def settings(name: str, root: Path | None, words: Sequence[str]) -> DataConfig:
    """The settings of a data set by its name: that of a format, or of a set of the format wilds.

    Of a published set, which may be large, the pictures that are shown alone are read, unless the words say otherwise.

    Args:
        words: `key=value`, of the data set's options where they have the key, or of the section `data`.

    Raises:
        ConfigError: an unknown name, or settings that the data set does not take.
    """
    if name not in (*registry.FORMATS, *wilds.SETS):
        raise ConfigError([unknown("NAME", name, (*registry.FORMATS, *wilds.SETS))])
    form = name if name in registry.FORMATS else "wilds"
    own = [f"data.format={form}", *([] if form == name else [f"data.options.name={name}"])]
    published, options = registry.FORMATS[form].published, registry.FORMATS[form].model.model_fields
    own += ["data.on_unreadable=late"] if published else []
    data = load(None, [*own, *(_in_full(word, options) for word in words)]).data
    data = data if root is None else data.model_copy(update={"root": root})
    faults = registry.faults(data)
    if faults:
        raise ConfigError(faults)
    return data


def _in_full(word: str, options: Container[str]) -> str:
    """A setting with its whole key."""
    first = word.partition("=")[0].partition(".")[0]
    if first == "data":
        return word
    return f"data.{word}" if first in DataConfig.model_fields and first not in options else f"data.options.{word}"


def _declared(data: DataConfig) -> str:
    """What is known of a data set before it is opened; nothing of a person's own."""
    entry, options = registry.FORMATS[data.format].entry, registry.options(data)
    if entry is not None:
        return f"{parts_table(entry.target, options, data.root or Path())}\n\n"
    if data.format == "wilds":
        home = f"given away at {wilds.ADDRESS}, licence {wilds.LICENCES[options.name]}"
        table = wilds_table(options, data.root or Path())
        return f"{options.name}: {home}. Papers report {wilds.metric(options)}.\n\n{table}\n\n"
    return ""


def _opened(data: DataConfig, seed: int) -> Splits:
    """The splits as the sheet shows them, once they are refused as by a run where that looks at all of their pictures.

    Raises:
        DataError: they cannot be read, or share pictures.
    """
    from metaft.data.duplicates import compared
    from metaft.data.sheet import SQUARE, WHOLE

    if data.on_unreadable == "late" or registry.FORMATS[data.format].version is not None:
        return registry.load(data, seed, WHOLE)
    compared(registry.load(data, seed, SQUARE))
    shown = data.model_copy(update={"on_unreadable": "late"}) if data.on_unreadable == "stop" else data
    with silence():  # all of it has been told
        return registry.load(shown, seed, WHOLE)


def parts_table(entry: Entry, options: SetOptions, root: Path) -> str:
    """Where each part of a set lies, or that it does not, and where it is given away."""
    rows = []
    for name, part in {**entry.layout(options, root).parts, **entry.shifts(options)}.items():
        found = part.found(root)
        where = MISSING if found is None else str(found[0].relative_to(root))
        rows.append([name, where, _count(part.images), part.home.address, part.home.licence])
    header = ["part", f"in {root}", "published", "given away at", "licence"]
    return f"{markdown(header, rows, numbers=False)}\n\nPapers report {entry.metric}."


def wilds_table(options: wilds.Options, root: Path) -> str:
    """Where the files, the images and so the splits of a set of WILDS lie, or that they do not."""
    rows = [
        [name, str(place.relative_to(root)) if place.exists() else MISSING, _count(images)]
        for name, (place, images) in wilds.parts(options, root).items()
    ]
    return markdown(["part", f"in {root}", "published"], rows, numbers=False)


def _count(images: int | None) -> str:
    return OWN_SPLIT if images is None else f"{images:,}"


def splits_table(splits: Splits) -> str:
    """How many images, classes and domains each split has, and its smallest class."""
    rows = [_row(split, splits.classes.names) for split in splits.parts.values()]
    return markdown(["split", "images", "classes", "domains", "smallest class"], rows)


def _row(split: Split, names: Sequence[str]) -> list[str]:
    answers = len(names) if split.answers is None else len(set(split.answers.tolist()) - {-1})
    counts = {name: count for name, count in zip(names, split.counts(len(names)), strict=True) if count}
    least = min(counts, key=counts.__getitem__)
    domains = 0 if split.domains is None else len(split.domains.names)
    return [split.name, f"{len(split):,}", f"{len(counts)} of {answers}", str(domains), f"{least}: {counts[least]}"]


def _refuse_unwritable(out: Path) -> None:
    """Refuse a sheet that cannot be written, or would take the place of another file, before anything is read.

    Raises:
        ConfigError, DataError: it cannot, or would.
    """
    if reason := unwritable(out.parent):
        raise DataError(f"--out: {out}: {reason}; allowed: a file that can be written")
    if out.parent.is_dir():  # else it is made
        refuse_unwritable(out)
    if out.exists() and not _is_sheet(out):
        raise ConfigError([Fault("--out", f"{out}, which is no contact sheet", "a new file, or an earlier sheet")])


def _is_sheet(file: Path) -> bool:
    """Whether a file is a sheet that was written here."""
    with file.open("rb") as begun:
        return f"Software\0{SOFTWARE}".encode() in begun.read(256)


def _write_sheet(splits: Splits, seed: int, out: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    from metaft.data.sheet import contact_sheet

    sheet, said = contact_sheet(splits, seed), PngInfo()
    said.add_text("Software", SOFTWARE)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file:
            sheet.save(file, format="PNG", pnginfo=said)
    except OSError as error:
        raise DataError(f"--out: {out}: {error.strerror}; allowed: a file that can be written") from error


if __name__ == "__main__":
    leave(main())
