"""Data sets: formats by name, each giving the splits a search may see and the tests it may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from metaft.data import captions, digits, folder, shapes
from metaft.data.types import Batch, Classes, ImageView, SearchData, Split, Splits
from metaft.errors import Problem, nearest
from metaft.settings import DataConfig

__all__ = [
    "FORMATS",
    "SUITE_VERSION",
    "Batch",
    "Classes",
    "Format",
    "ImageView",
    "SearchData",
    "Split",
    "Splits",
    "load",
    "problems",
]

SUITE_VERSION = 1  # of the embedded suites and checkpoints together; results of different versions never share a table


@dataclass(frozen=True)
class Format:
    """A data format: its options, how its splits are made, and what else to check before anything is opened.

    Args:
        version: of an embedded suite, whose pictures never change under it; None for data from outside.
    """

    description: str
    options: type[BaseModel]
    load: Callable[[Any, DataConfig, int, ImageView], Splits]
    check: Callable[[DataConfig], list[Problem]] = lambda data: []
    version: int | None = None


def _suite(make: Callable[[Any, int, ImageView], Splits]) -> Callable[[Any, DataConfig, int, ImageView], Splits]:
    """An embedded suite has its own class names; its templates can be replaced."""

    def build(options: Any, data: DataConfig, seed: int, view: ImageView) -> Splits:
        splits = make(options, seed, view)
        if data.templates is None:
            return splits
        classes = Classes(splits.classes.names, captions.templates(data.templates))
        return replace(splits, classes=classes)

    return build


def _folder(options: folder.Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    return folder.load(
        options,
        seed,
        view,
        root=data.root,
        classnames=data.classnames,
        template_setting=data.templates,
        skip_unreadable=data.on_unreadable == "skip",
    )


def _needs_root(data: DataConfig) -> list[Problem]:
    if data.root is None and "id_train" not in data.options:
        return [Problem("data.root", "nothing given", "the folder of your splits, or a path for each in data.options")]
    return []


FORMATS: dict[str, Format] = {
    "digits": Format(
        "rendered digits as ID, real handwritten digits as OOD",
        digits.Options,
        _suite(digits.load),
        version=SUITE_VERSION,
    ),
    "shapes": Format(
        "drawn objects; styles as distributions, colour as a shortcut",
        shapes.Options,
        _suite(shapes.load),
        version=SUITE_VERSION,
    ),
    "folder": Format("your pictures: root/SPLIT/class/image, or a path a split", folder.Options, _folder, _needs_root),
}


def problems(data: DataConfig) -> list[Problem]:
    """Faults of the data settings, as the format sees them."""
    found, model = FORMATS[data.format].check(data), FORMATS[data.format].options
    try:
        model.model_validate(data.options)
    except ValidationError as error:
        found += [_problem(model, dict(d)) for d in error.errors(include_url=False)]
    return found


def _problem(model: type[BaseModel], detail: dict[str, Any]) -> Problem:
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return Problem(
            f"data.options.{name}", "unknown key", ", ".join(model.model_fields), nearest(name, model.model_fields)
        )
    allowed = str(detail.get("ctx", {}).get("error", detail["msg"])).removeprefix("Input should be ")
    return Problem(f"data.options.{name}", repr(detail["input"]), allowed)


def load(data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Open every split of the configured data set at a model's image size.

    Raises:
        DataError: what is on disk is missing, unreadable or inconsistent.
    """
    chosen = FORMATS[data.format]
    return chosen.load(chosen.options.model_validate(data.options), data, seed, view)
