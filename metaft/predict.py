"""python -m metaft.predict RUN IMAGES...: the class of each image and its probability."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metaft.config.paths import no_folder, place
from metaft.errors import ConfigError, DataError, Fault
from metaft.files import refuse_unwritable
from metaft.runfiles import SETTINGS
from metaft.shell import answered, leave
from metaft.texts import PLAIN, oddity

if TYPE_CHECKING:  # so that help answers at once
    from torch import Tensor

    from metaft.clip.classifier import Classifier
    from metaft.clip.load import Clip
    from metaft.data.decode import Reading

PROG = "python -m metaft.predict"
BATCH = 64  # images at a time


class Prediction(NamedTuple):
    """An image with its most probable class, and the probability of each class."""

    image: Path
    name: str
    probability: float
    probabilities: dict[str, float]


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line; returns the exit code."""
    args = parser(prog).parse_args(argv)
    return answered(lambda: _written(args))


def _written(args: argparse.Namespace) -> int:
    """Predict, and write what was found."""
    if args.out is not None:
        refuse_unwritable(args.out)
    found = predictions(args.run, args.images, args.classnames, args.templates, args.device, args.skip)
    text = FORMS[args.format](found)
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8", errors="backslashreplace")
    return 0


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("run", type=place, metavar="RUN", help="a run, or a folder that open_clip opens")
    parser.add_argument("images", nargs="+", type=_image, metavar="IMAGES", help="image files, and folders of them")
    parser.add_argument("--format", choices=sorted(FORMS), default="csv", help="default: csv")
    parser.add_argument("--out", type=place, metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--classnames", type=place, metavar="FILE", help="class names, one a line, for a model without a head"
    )
    parser.add_argument("--templates", metavar="T", help="simple (the default), openai or a file; with --classnames")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--skip", action="store_true", help="leave out files that cannot be read")
    return parser


def _image(text: str) -> Path:
    """The path that a word means: of a file as it is named, if there is one, as where a shell has written it."""
    return Path(text) if os.path.lexists(text) else place(text)


def predictions(
    run: Path, images: Sequence[Path], classnames: Path | None, templates: str | None, device: str, skip: bool
) -> list[Prediction]:
    """What a model makes of images, in their order.

    probability = softmax(W f(x) + b), with f(x) of unit length

    Args:
        run: the folder of a run, whose settings say how files become pixels, or a folder that open_clip opens.
        images: files, and folders of which all pictures are taken.
        classnames: the names of a zero-shot head, for a model that has none.

    Raises:
        CheckpointError, DataError: a model, or an image, that cannot be opened.
        ConfigError: the device does not exist, or there are templates without class names.
    """
    from metaft.build.workspace import device as device_of
    from metaft.config.read import load

    device = str(device_of(load(None, [f"device={device}"])))
    folder = run / "model" if (run / "model").is_dir() else run
    clip, classifier, names = _classifier(folder, classnames, templates, device)
    reading, files = _reading(run, clip), _files(images)
    found: list[Prediction] = []
    for first in range(0, len(files), BATCH):
        kept, pixels = _decoded(files[first : first + BATCH], reading, skip)
        if kept:
            found += _predicted(classifier, kept, reading.view.normalise(pixels.to(device)), names)
    if not found:
        raise DataError(f"IMAGES: none of {len(files)} can be read; allowed: at least one picture")
    return found


def _classifier(
    folder: Path, classnames: Path | None, templates: str | None, device: str
) -> tuple[Clip, Classifier, tuple[str, ...]]:
    """The model of a folder with its head, or with a zero-shot one of class names."""
    from metaft.clip.classifier import caption_tokens, zero_shot
    from metaft.clip.export import exported
    from metaft.data import captions
    from metaft.data.types import Classes, refuse_unusable

    if templates is not None and classnames is None:
        fault = Fault("--templates", f"{templates!r} without --classnames", "both, for a head of class names, or none")
        raise ConfigError([fault])
    if not folder.is_dir():
        raise DataError(f"{no_folder(folder)}; allowed: a run, or a folder that open_clip opens")
    if (folder / SETTINGS).is_file():  # which a model has none of
        allowed = f"one that has ended, or --resume {folder} first"
        raise DataError(f"{folder}: a run that has left no model yet; allowed: {allowed}")
    clip, classifier, names = exported(folder, device)
    if classnames is not None:
        names = captions.listed(classnames)
        classes = Classes(names, captions.templates(templates or "simple", "--templates"))
        refuse_unusable(classes)
        caption_tokens(clip, classes)
        classifier = zero_shot(clip, classes, device)
    if classifier is None:
        raise DataError(f"{folder}: a model without a head; allowed: --classnames, a file with one name a line")
    return clip, classifier, names


def _reading(run: Path, clip: Clip) -> Reading:
    """How files become pixels: as in the run, where there is one."""
    from metaft.config.read import load
    from metaft.data.decode import Reading

    if not (run / SETTINGS).is_file():
        return Reading(clip.view)
    data = load(run / SETTINGS).data
    return Reading(clip.view, data.ground, data.exif_rotation)


def _files(images: Sequence[Path]) -> list[Path]:
    """The files given, and all pictures of the folders given."""
    from metaft.data.pictures import sorted_out
    from metaft.data.tree import walked

    files: list[Path] = []
    for path in images:
        if not path.is_dir():
            files.append(path)
            continue
        pictures = sorted_out(walked(path)).files
        if not pictures:
            raise DataError(f"{path}: no pictures; allowed: image files, and folders of them")
        files += pictures
    for path in files:
        if odd := oddity(str(path)):  # it is to be written beside what is predicted
            raise DataError(f"{os.fsencode(path)!r}: a path with {odd}; allowed: {PLAIN}")
    return files


def _decoded(files: Sequence[Path], reading: Reading, skip: bool) -> tuple[list[Path], Tensor]:
    """The files that can be read, and their pixels, uint8 [B, 3, S, S]."""
    from metaft.data.decoded import in_memory
    from metaft.progress import warn

    checked, source = in_memory(files, reading)
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


def _as_csv(found: Sequence[Prediction]) -> str:
    """A line for each image: its path, its class, the probability of that."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["filepath", "class", "probability"])
    rows.writerows([p.image, p.name, f"{p.probability:.6f}"] for p in found)
    return text.getvalue()


def _as_json(found: Sequence[Prediction]) -> str:
    """The same with the probability of every class."""
    rows = [
        {"filepath": str(p.image), "class": p.name, "probability": p.probability, "probabilities": p.probabilities}
        for p in found
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


FORMS = {"csv": _as_csv, "json": _as_json}

if __name__ == "__main__":
    leave(main())
