"""shapes: twelve procedurally drawn objects in twenty styles, with colour as a shortcut in the ID style."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from metaft.config.limits import DRAWN
from metaft.data.drawing.styles import COLOURS, STYLE_SETS, STYLES, between
from metaft.errors import hint

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.types import ImageView, Split, Splits

TEMPLATES = ("a {}.", "a drawing of a {}.", "a picture of a {}.")
# Four objects (cross, crescent, hexagon, bolt) have made-up names that occur in no caption of the toy CLIP's
# pretraining, much like the Latin names of species: the model knows what they look like but not what they are called,
# so that fine-tuning has something to teach that holds in every style.
NAMES = (
    *("circle", "square", "triangle", "star", "dax", "heart"),
    *("ring", "blicket", "arrow", "wug", "diamond", "toma"),
)
UNKNOWN = (*("modi", "fep", "gazzer", "koba", "dax", "zav"), *("tulver", "blicket", "pimwit", "wug", "kiki", "toma"))
# The objects of each choice of `names`, as places in the list of glyphs, with their names.
CLASSES = {
    "suite": dict(enumerate(NAMES)),
    "known": {place: name for place, name in enumerate(NAMES) if name not in UNKNOWN},
    "unknown": dict(enumerate(UNKNOWN)),
}


class Options(BaseModel):
    """Settings of `data.format: shapes`, under `data.options`; sizes of OOD tests are per style.

    `label_noise` is the share of id_train's labels that are false, `imbalance` how many times as many of its images the
    first class has as the last. `severity` goes from 0, where every style is drawn like the ID style, to 1;
    `val_severity` is that of ood_val alone, the same unless it is set. `names: known` leaves the objects whose names
    the toy CLIP has read, `unknown` gives all twelve names that it has not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: str = "photo"
    val_styles: tuple[str, ...] = Field("validation", validate_default=True)  # a name in STYLE_SETS, or styles
    test_styles: tuple[str, ...] = Field("test", validate_default=True)
    id_train: int = Field(2000, ge=1, le=DRAWN)
    id_val: int = Field(600, ge=1, le=DRAWN)
    ood_val: int = Field(300, ge=1, le=DRAWN)
    test: int = Field(600, ge=1, le=DRAWN)
    colour_correlation: float = Field(0.7, ge=0, le=1)
    severity: float = Field(1.0, ge=0, le=1)
    val_severity: float | None = Field(None, ge=0, le=1)
    label_noise: float = Field(0.0, ge=0, le=1)
    imbalance: float = Field(1.0, ge=1, le=1e6, allow_inf_nan=False)
    names: Literal["suite", "known", "unknown"] = "suite"
    size: Literal[32, 64] = 32

    @field_validator("val_styles", "test_styles", mode="before")
    @classmethod
    def _expanded(cls, value: object, info: ValidationInfo) -> object:
        """The styles of a set that is given by its name, without the ID style."""
        if not isinstance(value, str):
            return value
        if value not in STYLE_SETS:
            raise ValueError(f"a list of styles, or one of the sets {', '.join(STYLE_SETS)}")
        return tuple(s for s in STYLE_SETS[value] if s != info.data.get("style"))

    @field_validator("style", "val_styles", "test_styles")
    @classmethod
    def _known(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        taken = {*info.data.get("val_styles", ()), info.data.get("style")}
        for name in [value] if isinstance(value, str) else value:
            if name not in STYLES:
                raise ValueError(f"{', '.join(STYLES)}{hint(name, STYLES)}")
            if name in taken:
                raise ValueError(f"each style in one of style, val_styles and test_styles alone, unlike {name!r}")
        return value


def load(options: Options, seed: int, view: ImageView) -> Splits:
    """Draw every split; each has its own seed, so that changing one's size changes no image of the others."""
    import numpy as np
    import torch

    from metaft.data.drawing.paint import style_rows
    from metaft.data.drawing.pool import kept
    from metaft.data.drawing.render import uniforms
    from metaft.data.drawing.shapes import render
    from metaft.data.labels import dealt, noisy
    from metaft.data.types import Classes, Domains, PixelArray, Split, Splits

    o, names = options, CLASSES[options.names]
    objects = np.array(list(names))

    def draw(
        name: str,
        number: int,
        n: int,
        styles: tuple[str, ...],
        correlation: float,
        imbalance: float = 1,
        severity: float = o.severity,
    ) -> Split:
        split_seed = seed * 1000 + number
        indices = np.arange(n)
        r = uniforms(split_seed ^ 0xC0105, indices, 3).numpy()
        labels = dealt(n, len(objects), imbalance, split_seed)
        classes = objects[labels]
        tied = classes % len(COLOURS)
        colours = np.where(r[:, 0] < correlation, tied, (r[:, 1] * len(COLOURS)).astype(np.int64))
        rows = style_rows(between(STYLES[o.style], STYLES[s], severity) for s in styles)
        chosen = (r[:, 2] * len(styles)).astype(np.int64)
        pixels = render(classes, rows[chosen], colours, split_seed, indices, size=o.size)
        domains = Domains(styles, torch.from_numpy(chosen))
        return Split(name, PixelArray(pixels, view.size), torch.from_numpy(labels), view, domains)

    train = draw("id_train", 0, o.id_train, (o.style,), o.colour_correlation, o.imbalance)
    false = noisy(train.labels.numpy(), len(objects), o.label_noise, seed * 1000)
    c, number = o.colour_correlation, {s: i for i, s in enumerate(STYLES)}
    of_val = o.severity if o.val_severity is None else o.val_severity
    tests = {"id_test": draw("id_test", 3, o.test, (o.style,), c)}
    tests |= {f"ood_test/{s}": draw(f"ood_test/{s}", 100 + number[s], o.test, (s,), 0.0) for s in o.test_styles}
    return Splits(
        id_train=replace(train, labels=torch.from_numpy(false)),
        id_val=draw("id_val", 1, o.id_val, (o.style,), c),
        ood_val=draw("ood_val", 2, o.ood_val, o.val_styles, 0.0, severity=of_val),
        tests=tests,
        classes=Classes(tuple(names.values()), TEMPLATES),
        labelled_half=draw("labelled_half", 4, o.test * len(o.test_styles), o.test_styles, 0.0),
        pretraining=kept(o.size, view),
    )
