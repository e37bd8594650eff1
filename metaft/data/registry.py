"""The data formats by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import ValidationError

from metaft.config.schema import DataConfig
from metaft.data.corruptions import settings as corruptions
from metaft.errors import Fault, nearest
from metaft.lazy import Lazy

if TYPE_CHECKING:
    from metaft.data.types import ImageView, Splits

# Of the embedded suites and checkpoints together; results of different versions share a table only where both have the
# same pictures. 2: and the worlds' options; no picture of 1 has changed.
SUITE_VERSION = 2
PICTURES = 1  # the version since which no picture of the suites, and no checkpoint, has changed


def _no_faults(data: DataConfig) -> list[Fault]:
    return []


@dataclass(frozen=True)
class Format:
    """A data format.

    Args:
        options: the pydantic model of `data.options`, or a `Lazy` of it; its module imports nothing heavy.
        load: (options, data, seed, view) to `Splits` at a model's image size.
        check: finds further faults of the settings, before anything is opened.
        version: of an embedded suite, whose pictures never change within a version; None for other data.
        entry: the declaration of a data set that has a name (`metaft.data.sets.entry:Entry`), whose splits are taken as
            they are given away; None for other data.
        metric: from the options to the metric that papers report of the set; None: it is no published set.
    """

    description: str
    options: Any
    load: Callable[[Any, DataConfig, int, ImageView], Splits]
    check: Callable[[DataConfig], list[Fault]] = _no_faults
    version: int | None = None
    entry: Lazy | None = None
    metric: Callable[[Any], str] | None = None

    @property
    def published(self) -> bool:
        """Whether it is of sets that have names, whose splits and classes are taken as they are given away."""
        return self.metric is not None

    @property
    def model(self) -> Any:
        """The pydantic model of the options."""
        return self.options.target if isinstance(self.options, Lazy) else self.options


@dataclass(frozen=True)
class _Suite:
    """How an embedded suite is loaded: it has class names of its own, and templates that can be replaced."""

    draw: Callable[[Any, int, ImageView], Splits]

    def __call__(self, options: Any, data: DataConfig, seed: int, view: ImageView) -> Splits:
        splits = self.draw(options, seed, view)
        if data.templates is None:
            return splits
        from metaft.data.captions import templates

        return replace(splits, classes=replace(splits.classes, templates=templates(data.templates)))


def _suite(name: str, description: str) -> Format:
    module = f"metaft.data.{name}"
    return Format(description, Lazy(f"{module}:Options"), _Suite(Lazy(f"{module}:load")), version=SUITE_VERSION)


def _named(name: str, description: str) -> Format:
    """A data set that has a name: checked and loaded as its entry says."""
    entry, options = (Lazy(f"metaft.data.sets.{name}:{part}") for part in ("ENTRY", "Options"))
    faults, load = Lazy("metaft.data.sets.entry:faults"), Lazy("metaft.data.sets.loading:load")
    return Format(
        description,
        options,
        lambda *given: load(entry.target, *given),
        lambda data: faults(entry.target, options.target, data),
        entry=entry,
        metric=lambda options: str(entry.target.metric),
    )


FORMATS: dict[str, Format] = {
    "digits": _suite("digits", "rendered digits as ID, real handwritten digits as OOD"),
    "shapes": _suite("shapes", "drawn objects; styles as distributions, colour as a shortcut"),
    "folder": Format(
        "your pictures: root/SPLIT/class/image, or a path a split",
        Lazy("metaft.data.folder:Options"),
        Lazy("metaft.data.folder:load"),
        Lazy("metaft.data.layout:needs_root"),
    ),
    "csv": Format(
        "your pictures by tables: filepath, label, split, domain, group; tab or comma",
        Lazy("metaft.data.csv:Options"),
        Lazy("metaft.data.csv:load"),
        Lazy("metaft.data.csv:needs_tables"),
    ),
    "webdataset": Format(
        "tar shards: CLIP_benchmark's folders, or images with .cls or .json",
        Lazy("metaft.data.webdataset:Options"),
        Lazy("metaft.data.webdataset:load"),
        Lazy("metaft.data.layout:needs_root"),
    ),
    "hf": Format(
        "tables of Hugging Face's datasets on disk: save_to_disk, or parquet",
        Lazy("metaft.data.hf:Options"),
        Lazy("metaft.data.hf:load"),
        Lazy("metaft.data.hf:needs"),
    ),
    "wilds": Format(
        "iWildCam, FMoW or Camelyon17 as WILDS unpacks them: data.options.name",
        Lazy("metaft.data.wilds:Options"),
        Lazy("metaft.data.wilds:load"),
        Lazy("metaft.data.wilds:needs_root"),
        metric=Lazy("metaft.data.wilds:metric"),
    ),
    "cifar10": _named("cifar10", "CIFAR-10; 10-C, 10.1, 10.2, STL-10, CINIC-10 as OOD"),
    "imagenet": _named("imagenet", "ImageNet; V2, R, A, Sketch, ObjectNet, C as OOD"),
    "domainnet": _named("domainnet", "DomainNet; any domain as ID, others as OOD"),
    "sst2": _named("sst2", "Rendered SST2: sentences as pictures"),
    "patchcamelyon": _named("patchcamelyon", "PatchCamelyon: patches of lymph nodes"),
    "flowers102": _named("flowers102", "Oxford's 102 flowers"),
    "cars": _named("cars", "Stanford Cars"),
    "caltech101": _named("caltech101", "Caltech-101"),
}


def faults(data: DataConfig) -> list[Fault]:
    """Faults of the data settings: those of corruptions, options unknown to the format, and what its `check` finds."""
    model, found = FORMATS[data.format].model, [*corruptions.faults(data), *FORMATS[data.format].check(data)]
    try:
        model.model_validate(data.options)
    except ValidationError as error:
        wrong = [_fault(model, dict(detail)) for detail in error.errors(include_url=False)]
        return [*found, *wrong]
    return found


def _fault(model: Any, detail: dict[str, Any]) -> Fault:
    name, *inner = map(str, detail["loc"])
    field = f"data.options.{name}"
    if detail["type"] == "extra_forbidden":
        return Fault(field, "unknown key", ", ".join(model.model_fields), nearest(name, model.model_fields))
    if detail["type"] == "missing":
        choices = get_args(model.model_fields[name].annotation)
        return Fault(field, "nothing given", ", ".join(map(str, choices)) or "a value")
    if get_origin(model.model_fields[name].annotation) is dict:
        field = ".".join([field, *inner])
    allowed = str(detail.get("ctx", {}).get("error", detail["msg"])).removeprefix("Input should be ")
    return Fault(field, repr(detail["input"]), allowed)


def options(data: DataConfig) -> Any:
    """The options of the format, with their types and defaults."""
    return FORMATS[data.format].model.model_validate(data.options)


def metric(data: DataConfig) -> str | None:
    """The metric that papers report of the data set (see `metaft.metrics`); None: it has no name in papers."""
    published = FORMATS[data.format].metric
    return None if published is None else published(options(data))


def load(data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Open every split of the configured data set at a model's image size; `data.corruptions` make its ood_val.

    Raises:
        DataError: what is on disk is missing, unreadable or inconsistent.
    """
    splits = FORMATS[data.format].load(options(data), data, seed, view)
    if data.corruptions:
        from metaft.data.corrupted import with_corrupted

        splits = with_corrupted(splits, data, seed)
    return splits if data.shots is None else _few_shot(splits, data.shots, seed)


def _few_shot(splits: Splits, shots: int, seed: int) -> Splits:
    """Splits with so many images of each class of id_train, or all where a class has fewer."""
    import torch

    from metaft.data.draws import few
    from metaft.progress import warn

    train = splits.id_train
    short = [count for count in train.counts(len(splits.classes.names)) if count < shots]
    if short:
        warn(f"id_train: {len(short)} classes have fewer than {shots} images, the smallest {min(short)}")
    return replace(splits, id_train=train.subset(torch.tensor(few(train.labels.tolist(), shots, seed)), "id_train"))
