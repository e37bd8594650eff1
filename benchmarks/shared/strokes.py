"""A tuning world of pictures that the toy CLIP cannot read yet: digits in a free hand, at 8 x 8 pixels.

    cd benchmarks && python -m shared.strokes FOLDER SEED

They are rendered, in the layout of `data.format=folder`; none is of the real handwriting that `digits` reports on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from metaft.data.digits import NAMES
from metaft.data.drawing.digits import HANDS, render
from metaft.data.drawing.paint import style_rows
from metaft.data.drawing.render import uniforms
from metaft.data.drawing.styles import COLOURS

NEAT, FREE = ("print", "italic", "narrow", "bold"), ("free", "bold")
SPLITS = {  # images, hands, style
    "id_train": (1500, NEAT, "photo"),
    "id_val": (400, NEAT, "photo"),
    "id_test": (800, NEAT, "photo"),
    "ood_val": (300, FREE, "noir"),
    "ood_test/soft": (1000, ("free", "narrow"), "noir"),
    "ood_test/light": (1000, FREE, "chalk"),
}


def write(root: Path, seed: int) -> None:
    """Write all splits, as root/SPLIT/CLASS/NUMBER.png."""
    for number, (name, (n, hands, style)) in enumerate(SPLITS.items()):
        pixels, labels = drawn(seed * 1000 + 900 + number, n, hands, style)
        for i, label in enumerate(labels):
            folder = root / name / NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[i].permute(1, 2, 0).numpy()).save(folder / f"{i:05d}.png")


def drawn(seed: int, n: int, hands: Sequence[str], style: str) -> tuple[torch.Tensor, np.ndarray]:
    """Pixels [n, 3, 32, 32] and classes [n]; colour half tells the class of a photo, and nothing elsewhere."""
    indices, rows = np.arange(n), [list(HANDS).index(hand) for hand in hands]
    r = uniforms(seed ^ 0x51, indices, 3).numpy()
    classes, free = indices % len(NAMES), (r[:, 1] * len(COLOURS)).astype(int)
    colours = np.where(r[:, 0] < (0.5 if style == "photo" else 0.0), classes, free)
    written = np.array(rows)[(r[:, 2] * len(rows)).astype(int)]
    pixels = render(classes, written, style_rows([style]).expand(n, -1), colours, seed, indices)
    return (pixels if style == "photo" else coarse(pixels)), classes


def coarse(pixels: torch.Tensor) -> torch.Tensor:
    """Grey, at 8 x 8 pixels, enlarged again."""
    small = torch.nn.functional.interpolate(pixels.float().mean(1, keepdim=True), size=8, mode="area")
    large = torch.nn.functional.interpolate(small, size=pixels.shape[-1], mode="bicubic").clamp(0, 255)
    return large.round().to(torch.uint8).expand(-1, 3, -1, -1)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
