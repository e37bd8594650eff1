"""python -m metaft.predict RUN IMAGES...: the class of each image and its probability."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metaft.config.paths import place
from metaft.errors import ConfigError, DataError, Fault
from metaft.files import TEMPORARY, refuse_unwritable
from metaft.predictor import Given, predictor, reading
from metaft.shell import answered, leave
from metaft.texts import PLAIN, oddity

if TYPE_CHECKING:  # so that help answers at once
    from torch import Tensor

    from metaft.clip.classifier import Classifier
    from metaft.data.decode import Reading

PROG = "python -m metaft.predict"
BATCH = 64  # images at a time
EARLIER = (b"filepath,", b'[\n {\n  "filepath"')  # how files of predictions begin


class Prediction(NamedTuple):
    """An image with its most probable class, and the probability of each class."""

    image: Path
    name: str
    probability: float
    probabilities: dict[str, float]


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line; returns the exit code."""
    args = parser(prog).parse_args(argv)
    output = Output(args.out)
    return answered(lambda: _written(args, output), output.rest)


class Output:
    """Where predictions go a batch at a time: standard output, or a file that takes its place when it is whole."""

    def __init__(self, out: Path | None) -> None:
        self.out, self.begun = out, False

    def write(self, pieces: Iterable[str]) -> None:
        """Write pieces of text as they come; what is written stays where a later one fails.

        Raises:
            DataError: that of a piece, with what the rest is where some are written.
        """
        try:
            for piece in pieces:
                self._add(piece)
        except DataError as error:
            raise DataError(f"{error}, and then {self.rest()}" if self.begun else str(error)) from error
        if self.out is not None:
            self._unfinished.replace(self.out)

    def rest(self) -> str:
        """What is left to predict, in words; empty: all of it."""
        where = "that were printed" if self.out is None else f"in {self._unfinished}"
        return f"the images behind those {where}" if self.begun else ""

    @property
    def _unfinished(self) -> Path:
        assert self.out is not None
        return self.out.with_name(self.out.name + TEMPORARY)

    def _add(self, piece: str) -> None:
        if self.out is None:
            sys.stdout.write(piece)
            sys.stdout.flush()
        else:
            with self._unfinished.open("a" if self.begun else "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(piece)
        self.begun = True


def _written(args: argparse.Namespace, output: Output) -> int:
    """Predict, and write what was found."""
    if args.out is not None:
        refuse_unwritable(args.out)
    files = _files(args.images)
    if args.out is not None and args.out.exists():
        _refuse_replaced(files, args.run, {"the class names": args.classnames, "the head": args.head}, args.out)
    given = Given(args.run, args.model, args.classnames, args.templates, args.head)
    found = predictions(given, files, args.device, args.skip)
    output.write(FORMS[args.format or _form(args.out)](found))
    return 0


def _form(out: Path | None) -> str:
    """The form that the name of a file asks for."""
    return "json" if out is not None and out.suffix.lower() == ".json" else "csv"


def _refuse_replaced(files: Sequence[Path], run: Path, others: Mapping[str, Path | None], out: Path) -> None:
    """Refuse to write over what is read: an image, other files, one of the run other than earlier predictions.

    Raises:
        ConfigError: it is asked for.
    """
    with out.open("rb") as there:
        begins = there.read(max(map(len, EARLIER)))
    whose = {"one of the images": files, **{what: [path] for what, path in others.items() if path}}
    kinds = [what for what, paths in whose.items() if any(_same(out, path) for path in paths)]
    if out.resolve().is_relative_to(run.resolve()) and not begins.startswith(EARLIER):
        kinds.append("a file of the run")
    if kinds:
        raise ConfigError([Fault("--out", f"{out}, {kinds[0]}", "a file of its own")])


def _same(out: Path, file: Path) -> bool:
    """Whether two paths lead to one file; one that is not there is told of as others are."""
    with suppress(OSError):
        return out.samefile(file)
    return False


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("run", type=place, metavar="RUN", help="a run, a folder that open_clip opens, or a checkpoint")
    parser.add_argument("images", nargs="+", type=_image, metavar="IMAGES", help="image files, and folders of them")
    parser.add_argument("--format", choices=sorted(FORMS), help="default: csv, and json for --out NAME.json")
    parser.add_argument("--out", type=place, metavar="FILE", help="default: standard output")
    parser.add_argument("--model", metavar="NAME", help="the architecture of a checkpoint file, as open_clip names it")
    parser.add_argument(
        "--classnames", type=place, metavar="FILE", help="class names, one a line, for a model without a head of names"
    )
    parser.add_argument(
        "--head", type=place, metavar="FILE", help="a linear head on image features, whose rows --classnames names"
    )
    parser.add_argument("--templates", metavar="T", help="simple (the default), openai or a file; with --classnames")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--skip", action="store_true", help="leave out files that cannot be read")
    return parser


def _image(text: str) -> Path:
    """The path that a word means: of a file as it is named, if there is one, as where a shell has written it."""
    return Path(text) if os.path.lexists(text) else place(text)


def predictions(given: Given, files: Sequence[Path], device: str, skip: bool) -> Iterator[list[Prediction]]:
    """What a model makes of images, in their order, a batch at a time.

    probability = softmax(W f(x) + b), with f(x) of unit length

    Raises:
        CheckpointError, DataError: a model, or an image, that cannot be opened.
        ConfigError: the device does not exist, or the model is not named in full (see `metaft.predictor`).
    """
    from metaft.build.workspace import device as device_of
    from metaft.config.read import load

    device = str(device_of(load(None, [f"device={device}"])))
    clip, classifier, names = predictor(given, device)
    how, found = reading(given.folder, clip), False
    for first in range(0, len(files), BATCH):
        kept, pixels = _decoded(files[first : first + BATCH], how, skip)
        if kept:
            found = True
            yield list(_predicted(classifier, kept, how.view.normalise(pixels.to(device)), names))
    if not found:
        raise DataError(f"IMAGES: none of {len(files)} can be read; allowed: at least one picture")


def _files(images: Sequence[Path]) -> list[Path]:
    """The files given, and all pictures of the folders given."""
    from metaft.data.pictures import sorted_out
    from metaft.data.tree import walked

    files: list[Path] = []
    for path in images:
        if not path.is_dir():
            files.append(path)
            continue
        pictures = sorted_out(walked(path)).paths
        if not pictures:
            raise DataError(f"{path}: no pictures; allowed: image files, and folders of them")
        files += pictures
    for path in files:
        if odd := oddity(str(path)):  # it is to be written beside what is predicted
            raise DataError(f"{os.fsencode(path)!r}: a path with {odd}; allowed: {PLAIN}")
    return files


def _decoded(files: Sequence[Path], how: Reading, skip: bool) -> tuple[list[Path], Tensor]:
    """The files that can be read, and their pixels, uint8 [B, 3, S, S]."""
    from metaft.data.decoded import in_memory
    from metaft.progress import warn

    checked, source = in_memory(files, how)
    for fault in checked.faults.values():
        if not skip:
            raise DataError(fault.replace("data.on_unreadable=skip", "--skip"))
        warn(f"skipped: {fault.replace(', or data.on_unreadable=skip', '')}")
    kept = [number for number in range(len(files)) if number not in checked.faults]
    return [files[number] for number in kept], source(kept).pixels(range(len(kept)))


def _predicted(
    classifier: Classifier, files: Sequence[Path], images: Tensor, names: Sequence[str]
) -> Iterable[Prediction]:
    """The predictions of normalised images [B, 3, S, S]."""
    import torch

    with torch.no_grad():
        rows = classifier(images).logits.double().softmax(dim=1).tolist()
    for file, row in zip(files, rows, strict=True):
        probabilities = dict(zip(names, row, strict=True))
        name = max(probabilities, key=probabilities.__getitem__)
        yield Prediction(file, name, probabilities[name], probabilities)


def _as_csv(found: Iterable[Sequence[Prediction]]) -> Iterator[str]:
    """A line for each image: its path, its class, the probability of that."""
    head = [["filepath", "class", "probability"]]
    for batch in found:
        text = io.StringIO()
        rows = [[str(p.image), p.name, f"{p.probability:.6f}"] for p in batch]
        csv.writer(text, lineterminator="\n").writerows([*head, *rows])
        yield text.getvalue()
        head = []


def _as_json(found: Iterable[Sequence[Prediction]]) -> Iterator[str]:
    """The same with the probability of every class."""
    before = "[\n "
    for batch in found:
        rows = (
            {"filepath": str(p.image), "class": p.name, "probability": p.probability, "probabilities": p.probabilities}
            for p in batch
        )
        yield before + ",\n ".join(json.dumps(row, indent=1, ensure_ascii=False).replace("\n", "\n ") for row in rows)
        before = ",\n "
    yield "\n]\n"


FORMS = {"csv": _as_csv, "json": _as_json}

if __name__ == "__main__":
    leave(main())
