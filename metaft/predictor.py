"""The model that predicts, of what there is of it: a run, a folder that open_clip opens, a checkpoint of anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metaft.config.paths import expanded, no_folder
from metaft.errors import CheckpointError, ConfigError, DataError, Fault
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
        model: the architecture of a checkpoint; None: what lies beside it says it.
        classnames: the names of a zero-shot head, or of the rows of `head`.
        templates: the captions of a zero-shot head; None: `simple`.
        head: a file with a linear head; None: the model's own, or a zero-shot one.
    """

    place: Path
    model: str | None = None
    classnames: Path | None = None
    templates: str | None = None
    head: Path | None = None

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

    def described(self) -> Given:
        """The same, with the architecture that the config.json beside Hugging Face's weights says, where none is named.

        Raises:
            CheckpointError: it says none that open_clip has.
        """
        if self.model is not None or self.weights is None or self.place.is_file():
            return self
        from metaft.clip.described import architecture_in

        return self._replace(model=architecture_in(self.folder))


class Predictor(NamedTuple):
    """A model with its head, and the names of its classes in the order of the logits."""

    clip: Clip
    classifier: Classifier
    names: tuple[str, ...]


def predictor(given: Given, device: str) -> Predictor:
    """The model that is named, with its head, a given one, or a zero-shot one of class names.

    Raises:
        CheckpointError, DataError: a model that cannot be opened, or has no head without class names, or a head without
            a name for each row.
        ConfigError: templates or a head without class names; a checkpoint without its architecture, or one for another
            model.
    """
    from metaft.clip.classifier import caption_tokens, zero_shot
    from metaft.data import captions
    from metaft.data.types import Classes, refuse_unusable

    given = given.described()
    faults = [*_of_class_names(given), *_of_model(given)]
    if faults:
        raise ConfigError(faults)
    clip, classifier, names = _opened(given, device)
    if classifier is not None and not names:
        return Predictor(clip, classifier, _names_of_rows(given, classifier))
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


def _names_of_rows(given: Given, classifier: Classifier) -> tuple[str, ...]:
    """The class names of a head that has none of its own."""
    from metaft.data import captions
    from metaft.data.types import Classes, refuse_unusable

    if given.templates is not None:
        raise ConfigError(
            [Fault("--templates", f"for {given.weights}, which has a head", "none: it is not of captions")]
        )
    rows = len(classifier.head.bias)
    if given.classnames is None:
        found = f"a head of {rows} classes without their names"
        raise DataError(f"{given.weights}: {found}; allowed: --classnames, a file with one name a line")
    names = captions.listed(given.classnames)
    if len(names) != rows:
        raise DataError(f"{given.classnames}: {len(names)} names; allowed: {rows}, one for each row of the head")
    refuse_unusable(Classes(names, ()))
    return names


def _of_class_names(given: Given) -> list[Fault]:
    """The faults of templates, or a head, that go with class names or not at all, and of both together."""
    faults = []
    if given.templates is not None and given.classnames is None:
        found = f"{given.templates!r} without --classnames"
        faults.append(Fault("--templates", found, "both, for a head of class names, or none"))
    if given.head is not None and given.classnames is None:
        faults.append(Fault("--head", f"{given.head} without --classnames", "both: the names are of the head's rows"))
    if given.head is not None and given.templates is not None:
        faults.append(Fault("--head", f"{given.head} with --templates", "one of them: the head is not of captions"))
    return faults


def _of_model(given: Given) -> list[Fault]:
    """The fault of a checkpoint whose architecture nothing says, or of an architecture that something else says."""
    if given.weights is not None and given.model is None:
        allowed = "its architecture in open_clip, as --model ViT-B-32 (--list models), with --classnames FILE"
        return [Fault("--model", f"nothing given for {given.place}, a checkpoint file", allowed)]
    if given.weights is None and given.model is not None and given.folder.is_dir():
        allowed = "a checkpoint file, or a folder of Hugging Face; without --model a run, or one that open_clip opens"
        return [Fault("--model", f"{given.model!r} for {given.place}, which is no checkpoint", allowed)]
    return []


def _opened(given: Given, device: str) -> tuple[Clip, Classifier | None, tuple[str, ...]]:
    """The model, with a given head or the one that lies in or beside it, and the class names that lie beside it."""
    if given.weights is not None and given.model is not None:
        return _of_checkpoint(given.weights.absolute(), given.model, given.head, device)
    clip, classifier, names = _of_folder(given.folder, device)
    if given.head is None:
        return clip, classifier, names
    return clip, _with_head(clip, given.head, device), ()


def _of_checkpoint(
    weights: Path, model: str, head: Path | None, device: str
) -> tuple[Clip, Classifier | None, tuple[str, ...]]:
    """The model of a checkpoint; with a head where one is given, or lies in it beside an image tower without text.

    Raises:
        CheckpointError: it cannot be opened, or has neither a text tower nor a head.
    """
    from metaft.clip.head_file import HeadlessError
    from metaft.clip.load import load
    from metaft.clip.weights import TextlessError

    if head is None:
        try:
            return load(model, str(weights), device), None, ()
        except TextlessError as error:
            textless = error
    clip = load(model, str(weights), device, text=False)
    try:
        return clip, _with_head(clip, head or weights, device), ()
    except HeadlessError as error:
        if head is not None:
            raise
        said = str(textless).partition("; allowed: ")[0]
        allowed = "a text tower or classification_head.weight in it, or --head FILE"
        raise CheckpointError(f"{said}, and no head in it; allowed: {allowed}") from error


def _with_head(clip: Clip, file: Path, device: str) -> Classifier:
    """A model with the head in a file."""
    from metaft.clip.classifier import Classifier
    from metaft.clip.head_file import read_head

    weight, bias = read_head(file, clip.config["embed_dim"])
    return Classifier(clip.model, weight, bias).to(device).eval()


def _of_folder(folder: Path, device: str) -> tuple[Clip, Classifier | None, tuple[str, ...]]:
    """The model of a run, or of a folder that open_clip opens, with the head and the class names that lie beside it."""
    from metaft.clip.export import exported

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
