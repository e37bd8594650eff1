"""The model that predicts, of what there is of it: a run, a folder that open_clip opens, a checkpoint of anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metaft.config.paths import expanded, no_folder
from metaft.errors import ConfigError, DataError, Fault
from metaft.runfiles import SEEDS, SETTINGS

if TYPE_CHECKING:  # so that help answers at once
    from metaft.clip.classifier import Classifier
    from metaft.clip.load import Clip
    from metaft.data.decode import Reading

CONFIGURED = "open_clip_config.json"  # in a folder that says its architecture
HUGGING_FACE = ("model.safetensors", "pytorch_model.bin")  # weights in a folder of theirs, or with INDEX in shards
INDEX = ".index.json"


class Given(NamedTuple):
    """What is named on the command line.

    Args:
        place: a run, a folder that open_clip or Hugging Face opens, or a checkpoint file.
        model: the architecture of a checkpoint that does not say it; None: of one that does.
        classnames: the names of a zero-shot head.
        templates: its captions; None: `simple`.
    """

    place: Path
    model: str | None = None
    classnames: Path | None = None
    templates: str | None = None

    @property
    def folder(self) -> Path:
        """Where the model lies: in a run its folder `model`."""
        return self.place / "model" if (self.place / "model").is_dir() else self.place

    @property
    def weights(self) -> Path | None:
        """The checkpoint file, where there is one that does not say its architecture; None: there is none."""
        if self.place.is_file():
            return self.place
        if (self.folder / CONFIGURED).is_file() or not (self.folder / "config.json").is_file():
            return None
        files = (self.folder / f"{name}{end}" for name in HUGGING_FACE for end in ("", INDEX))
        return next((file for file in files if file.is_file()), None)


class Predictor(NamedTuple):
    """A model with its head, and the names of its classes in the order of the logits."""

    clip: Clip
    classifier: Classifier
    names: tuple[str, ...]


def predictor(given: Given, device: str) -> Predictor:
    """The model that is named, with its head or a zero-shot one of class names.

    Raises:
        CheckpointError, DataError: a model that cannot be opened, or has no head without class names.
        ConfigError: templates without class names; a checkpoint without its architecture, or one for another model.
    """
    from metaft.clip.classifier import caption_tokens, zero_shot
    from metaft.data import captions
    from metaft.data.types import Classes, refuse_unusable

    faults = [*_of_templates(given), *_of_model(given)]
    if faults:
        raise ConfigError(faults)
    clip, classifier, names = _opened(given, device)
    if given.classnames is not None:
        names = captions.listed(given.classnames)
        classes = Classes(names, captions.templates(expanded(given.templates or "simple"), "--templates"))
        refuse_unusable(classes)
        caption_tokens(clip, classes)
        classifier = zero_shot(clip, classes, device)
    if classifier is None:
        allowed = "--classnames, a file with one name a line"
        raise DataError(f"{given.weights or given.folder}: a model without a head; allowed: {allowed}")
    return Predictor(clip, classifier, names)


def _of_templates(given: Given) -> list[Fault]:
    if given.templates is None or given.classnames is not None:
        return []
    found = f"{given.templates!r} without --classnames"
    return [Fault("--templates", found, "both, for a head of class names, or none")]


def _of_model(given: Given) -> list[Fault]:
    """The fault of a checkpoint whose architecture nothing says, or of an architecture that something else says."""
    if given.weights is not None and given.model is None:
        what = "a checkpoint file" if given.place.is_file() else "a folder of Hugging Face"
        allowed = "its architecture in open_clip, as --model ViT-B-32 (--list models), with --classnames FILE"
        return [Fault("--model", f"nothing given for {given.place}, {what}", allowed)]
    if given.weights is None and given.model is not None and given.folder.is_dir():
        allowed = "a checkpoint file, or a folder of Hugging Face; without --model a run, or one that open_clip opens"
        return [Fault("--model", f"{given.model!r} for {given.place}, which is no checkpoint", allowed)]
    return []


def _opened(given: Given, device: str) -> tuple[Clip, Classifier | None, tuple[str, ...]]:
    """The model, with the head and the class names that lie beside it."""
    from metaft.clip.export import exported
    from metaft.clip.load import load

    folder = given.folder
    if given.weights is not None and given.model is not None:
        return load(given.model, str(given.weights.absolute()), device), None, ()
    if not folder.is_dir():
        raise DataError(f"{no_folder(folder)}; allowed: a run, a folder that open_clip opens, or a checkpoint file")
    if (folder / SEEDS).is_file():
        raise DataError(f"{folder}: runs of several seeds; allowed: one of them, such as {_of_a_seed(folder)}")
    if (folder / SETTINGS).is_file():  # which a model has none of
        allowed = f"one that has ended, or --resume {folder} first"
        raise DataError(f"{folder}: a run that has left no model yet; allowed: {allowed}")
    return exported(folder, device)


def _of_a_seed(folder: Path) -> Path:
    """The first of several runs in a folder, of those with a model where there are any."""
    runs = sorted(path for path in folder.glob("seed-*") if path.is_dir())
    whole = [run for run in runs if (run / "model").is_dir()]
    return next(iter(whole or runs), folder / "seed-0")


def reading(folder: Path, clip: Clip) -> Reading:
    """How files become pixels: as the model notes it, or in a run that made it before models did."""
    from metaft.clip.export import reading_of
    from metaft.config.read import load
    from metaft.data.decode import Reading

    noted, settings = reading_of(folder), folder.absolute().parent / SETTINGS
    if noted is not None:
        return Reading(clip.view, *noted)
    if folder.absolute().name != "model" or not settings.is_file():
        return Reading(clip.view)
    data = load(settings).data
    return Reading(clip.view, data.ground, data.exif_rotation)
