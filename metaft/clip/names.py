"""The architectures that can be named, without importing open_clip."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

TOY = "toy-clip"  # 32 px, width 96, 4 layers
MID = "mid-clip"  # 64 px, width 384, 8 layers: for a GPU
EMBEDDED = (TOY, MID)
FOLDER = Path(__file__).parent / "toy"  # holds their configurations, and the weights in the package


def architectures() -> list[str]:
    """The names of open_clip's architectures and of the embedded ones, sorted.

    They are the names of open_clip's configuration files, one for each architecture, since importing open_clip takes
    seconds, in which it loads all of torchvision's models. Where a program has imported it, open_clip is asked, so that
    architectures which the program has added are included.
    """
    if "open_clip" in sys.modules:
        return sorted({*sys.modules["open_clip"].list_models(), *EMBEDDED})
    spec = find_spec("open_clip")
    assert spec is not None, "open_clip_torch is a dependency"
    assert spec.origin is not None
    return sorted({*(path.stem for path in (Path(spec.origin).parent / "model_configs").glob("*.json")), *EMBEDDED})
