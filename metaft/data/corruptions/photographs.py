"""Where the photographs of ice are, which `frost` lays over an image.

They come with ImageNet-C's program, which does not say who took them. So they are not shipped here, nor drawn anew, but
read from the package imagecorruptions-imaug (or imagecorruptions), of which nothing is imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGE, INSTALL = "imagecorruptions", "pip install 'metaft[frost]'"
FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


def photographs() -> tuple[Path, ...]:
    """The photographs in their order; none where they are not installed."""
    package = find_spec(PACKAGE)
    folders = [] if package is None else list(package.submodule_search_locations or ())
    paths = tuple(Path(folder) / "frost" / name for folder in folders for name in FILES)
    return paths if all(path.is_file() for path in paths) else ()
