"""shapes: twelve procedurally drawn objects in twenty styles, with colour as a shortcut in the ID style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from metaft.data.drawing.styles import COLOURS, STYLE_SETS, STYLES, between
from metaft.errors import nearest

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
KNOWN = ("circle", "square", "triangle", "star", "heart", "ring", "arrow", "diamond")
UNKNOWN = (
    *("fep", "tulver", "modi", "zorch", "dax", "koba"),
    *("pilk", "blicket", "gazzer", "wug", "nerf", "toma"),
)  # in the order of NAMES


class Options(BaseModel):
    """Settings of `data.format: shapes`, under `data.options`; sizes of OOD tests are per style."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: str = "photo"
    val_styles: tuple[str, ...] = Field("validation", validate_default=True)  # a name in STYLE_SETS, or styles
    test_styles: tuple[str, ...] = Field("test", validate_default=True)
    id_train: int = Field(2000, ge=1)
    id_val: int = Field(600, ge=1)
    ood_val: int = Field(300, ge=1)
    test: int = Field(600, ge=1)
    colour_correlation: float = Field(0.7, ge=0, le=1)
    severity: float = Field(1.0, ge=0, le=1)
    names: Literal["suite", "known", "unknown"] = "suite"  # known: the objects of those names; unknown: all made up
    label_noise: float = Field(0.0, ge=0, lt=1)  # the share of id_train with the label of another class
    imbalance: float = Field(1.0, ge=1)  # how many times more images of its first class id_train has than of its last
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
                raise ValueError(f"{', '.join(STYLES)} (nearest to {name!r}: {nearest(name, STYLES)!r})")
            if name in taken:
                raise ValueError(f"each style in one of style, val_styles and test_styles alone, unlike {name!r}")
        return value


def load(options: Options, seed: int, view: ImageView) -> Splits:
    """Draw every split; each has its own seed, so that changing one's size changes no image of the others."""
    import numpy as np
    import torch

    from metaft.data.drawing.labels import classes_of, noisy
    from metaft.data.drawing.paint import style_rows
    from metaft.data.drawing.render import uniforms
    from metaft.data.drawing.shapes import render
    from metaft.data.types import Classes, Domains, PixelArray, Split, Splits

    o = options
    names = {"suite": NAMES, "known": KNOWN, "unknown": UNKNOWN}[o.names]
    objects = np.array([NAMES.index(name) for name in (KNOWN if o.names == "known" else NAMES)])

    def draw(
        name: str,
        number: int,
        n: int,
        styles: tuple[str, ...],
        correlation: float,
        wrong: float = 0.0,
        tail: float = 1.0,
    ) -> Split:
        split_seed = seed * 1000 + number
        indices = np.arange(n)
        r = uniforms(split_seed ^ 0xC0105, indices, 3).numpy()
        labels = classes_of(n, len(names), tail)
        classes = objects[labels]
        tied = classes % len(COLOURS)
        colours = np.where(r[:, 0] < correlation, tied, (r[:, 1] * len(COLOURS)).astype(np.int64))
        rows = style_rows(between(STYLES[o.style], STYLES[s], o.severity) for s in styles)
        chosen = (r[:, 2] * len(styles)).astype(np.int64)
        pixels = render(classes, rows[chosen], colours, split_seed, indices, size=o.size)
        domains = Domains(styles, torch.from_numpy(chosen))
        given = torch.from_numpy(noisy(labels, len(names), wrong, split_seed))
        return Split(name, PixelArray(pixels, view.size), given, view, domains)

    c, number = o.colour_correlation, {s: i for i, s in enumerate(STYLES)}
    tests = {"id_test": draw("id_test", 3, o.test, (o.style,), c)}
    tests |= {f"ood_test/{s}": draw(f"ood_test/{s}", 100 + number[s], o.test, (s,), 0.0) for s in o.test_styles}
    return Splits(
        id_train=draw("id_train", 0, o.id_train, (o.style,), c, o.label_noise, o.imbalance),
        id_val=draw("id_val", 1, o.id_val, (o.style,), c),
        ood_val=draw("ood_val", 2, o.ood_val, o.val_styles, 0.0),
        tests=tests,
        classes=Classes(names, TEMPLATES),
        labelled_half=draw("labelled_half", 4, o.test * len(o.test_styles), o.test_styles, 0.0),
    )
