"""digits: rendered digits in several hands as ID, the real handwritten digits of scikit-learn as OOD."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from metaft.config.limits import DRAWN
from metaft.data.drawing.styles import COLOURS

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from torch import Tensor

    from metaft.data.types import ImageView, Split, Splits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("the digit {}.", "a drawing of the digit {}.", "a picture of the digit {}.")
REAL_VALIDATION = 797  # of the 1,797 real digits; every other one of the remaining thousand is a test image


class Options(BaseModel):
    """Settings of `data.format: digits`, under `data.options`.

    `label_noise` is the share of id_train's labels that are false, `imbalance` how many times as many of its images
    zero has as nine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id_train: int = Field(2000, ge=1, le=DRAWN)
    id_val: int = Field(500, ge=1, le=DRAWN)
    ood_val: int = Field(400, ge=1, le=REAL_VALIDATION)
    test: int = Field(1000, ge=1, le=DRAWN)
    colour_correlation: float = Field(0.5, ge=0, le=1)
    label_noise: float = Field(0.0, ge=0, le=1)
    imbalance: float = Field(1.0, ge=1, le=1e6, allow_inf_nan=False)
    size: Literal[32, 64] = 32


def load(options: Options, seed: int, view: ImageView) -> Splits:
    """Draw the ID splits; deal out the real digits.

    The real digits are sorted by writer. Validation draws, by seed and evenly over the classes, from
    the first 797, so that its writers are not those of the tests; the last 1,000 are alternately test images and the
    oracle's labelled half, the same ones for every seed and every size of validation.
    """

    import numpy as np
    import torch

    from metaft.data.drawing.digits import HANDS, handwritten, render
    from metaft.data.drawing.paint import style_rows
    from metaft.data.drawing.pool import kept
    from metaft.data.drawing.render import uniforms
    from metaft.data.labels import dealt, noisy
    from metaft.data.types import Classes, PixelArray, Split, Splits

    def draw(name: str, number: int, n: int, imbalance: float = 1) -> Split:
        split_seed = seed * 1000 + 500 + number
        indices = np.arange(n)
        r = uniforms(split_seed ^ 0xC0105, indices, 3).numpy()
        classes = dealt(n, 10, imbalance, split_seed)
        free = (r[:, 1] * len(COLOURS)).astype(np.int64)
        colours = np.where(r[:, 0] < options.colour_correlation, classes, free)
        hands = (r[:, 2] * len(HANDS)).astype(np.int64)
        styles = style_rows(["photo"]).expand(n, -1)
        pixels = render(classes, hands, styles, colours, split_seed, indices, size=options.size)
        return Split(name, PixelArray(pixels, view.size), torch.from_numpy(classes), view)

    train = draw("id_train", 0, options.id_train, options.imbalance)
    false = noisy(train.labels.numpy(), 10, options.label_noise, seed * 1000 + 500)
    pixels, labels = handwritten()

    def real(name: str, rows: Tensor) -> Split:
        return Split(name, PixelArray(pixels[rows], view.size), labels[rows], view)

    numbers = torch.arange(len(labels))
    chance = uniforms(seed * 1000 + 503, numbers[:REAL_VALIDATION].numpy(), 1)[:, 0]
    return Splits(
        id_train=replace(train, labels=torch.from_numpy(false)),
        id_val=draw("id_val", 1, options.id_val),
        ood_val=real("ood_val", _evenly(labels[:REAL_VALIDATION], chance)[: options.ood_val]),
        tests={
            "id_test": draw("id_test", 2, options.test),
            "ood_test/handwritten": real("ood_test/handwritten", numbers[REAL_VALIDATION::2]),
        },
        classes=Classes(NAMES, TEMPLATES),
        labelled_half=real("labelled_half", numbers[REAL_VALIDATION + 1 :: 2]),
        pretraining=kept(options.size, view),
    )


def _evenly(labels: Tensor, chance: Tensor) -> Tensor:
    """All rows [B] in random order, one of each class before a second of any."""
    from torch.nn.functional import one_hot

    order = chance.argsort()
    classes = one_hot(labels[order])
    turn = (classes.cumsum(0) * classes).sum(1)  # 1 for the first of its class, 2 for the second
    return order[turn.argsort(stable=True)]
