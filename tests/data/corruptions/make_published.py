"""How published.npz was made: what the programs of ImageNet-C and CIFAR-10-C make of `pictures.picture`.

    python -m tests.data.corruptions.make_published ROBUSTNESS

ROBUSTNESS is a clone of github.com/hendrycks/robustness (8190fe3). Its functions run as they are, with four changes:
names that numpy, scipy and scikit-image have renamed; random numbers from one `numpy.random.Generator`, drawn where the
program draws them; ImageMagick's motion blur by imagecorruptions (imagecorruptions-imaug 1.1.5), in 8 bits; photographs
of ice by `pictures.ice`. So each picture can be compared pixel by pixel. Made with numpy 2.4.6, scipy 1.17.1,
scikit-image 0.26.0, opencv-python-headless 5.0.0.93 and Pillow 13.0.0; of each picture 64 pixels are kept.
"""

from __future__ import annotations

import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import scipy.ndimage
import skimage as sk
from imagecorruptions.corruptions import _motion_blur
from PIL import Image
from skimage.filters import gaussian

from metaft.data.corruptions.levels import NAMES, SEVERITIES
from tests.data.corruptions.pictures import ice, picture, sampled

PROGRAMS = {32: "make_cifar_c", 64: "make_imagenet_64_c", 224: "make_imagenet_c", 299: "make_imagenet_c_inception"}


class Motion:
    """What the programs take from ImageMagick."""

    def __init__(self, blob: bytes) -> None:
        self.image = np.array(Image.open(BytesIO(blob)))

    def motion_blur(self, radius: float, sigma: float, angle: float) -> None:
        self.image = np.rint(_motion_blur(self.image.astype(float), radius, sigma, angle)).astype(np.uint8)

    def make_blob(self) -> bytes:
        file = BytesIO()
        Image.fromarray(self.image).save(file, "PNG")
        return file.getvalue()


def functions(program: Path, rng: np.random.Generator) -> dict:
    """The corruptions of a program, by name, that draw from a generator."""
    text = program.read_text()
    text = text[text.index("def disk(") : text.index("# Tell Python")] + text[text.index("def plasma_fractal(") :]
    text = text[: text.index("# /////////////// End Distortions")]
    text = text.replace("multichannel=True", "channel_axis=-1").replace("mode='s&p'", "mode='s&p', rng=rng")
    text = text.replace("np.float_", "float").replace("np.fromstring", "np.frombuffer").replace(", mode='L')", ")")
    for name in ("normal", "uniform", "poisson"):
        text = text.replace(f"np.random.{name}", f"rng.{name}")
    text = text.replace("np.random.randint", "rng.integers")
    scope = {"np": np, "rng": rng, "sk": sk, "cv2": cv2, "gaussian": gaussian, "BytesIO": BytesIO, "PILImage": Image}
    scope |= {"MotionImage": Motion, "scizoom": scipy.ndimage.zoom, "map_coordinates": scipy.ndimage.map_coordinates}
    exec(text, scope)
    return scope


def published(robustness: Path, size: int, name: str, severity: int) -> np.ndarray:
    """uint8 [S, S, 3]"""
    program = robustness / "ImageNet-C" / "create_c" / f"{PROGRAMS[size]}.py"
    made = functions(program, np.random.default_rng([size, severity]))[name]
    return np.uint8(made(Image.fromarray(picture(size)), severity))


if __name__ == "__main__":
    robustness, here = Path(sys.argv[1]).absolute(), Path(__file__).parent.absolute()
    with tempfile.TemporaryDirectory() as folder:
        ice(Path(folder))
        os.chdir(folder)
        kept = {
            f"{name} {size}": np.stack([sampled(published(robustness, size, name, s)) for s in SEVERITIES])
            for name in NAMES
            for size in PROGRAMS
        }
    np.savez_compressed(here / "published.npz", **kept)
