"""The architectures that can be named, without importing open_clip."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

TOY = "toy-clip"  # 32 px, width 96, 4 layers
MID = "mid-clip"  # 64 px, width 384, 8 layers: for a GPU
EMBEDDED = (TOY, MID)
FOLDER = Path(__file__).parent / "toy"  # of their configurations, and of the weights that ship


def architectures() -> list[str]:
    """open_clip's architectures and the embedded ones; those that a program has added where it has imported open_clip.

    open_clip has a file for each of its architectures, by whose name it goes. Importing it takes seconds, in which it
    loads all of torchvision's models.
    """
    if "open_clip" in sys.modules:
        return sorted({*sys.modules["open_clip"].list_models(), *EMBEDDED})
    spec = find_spec("open_clip")
    assert spec is not None, "open_clip_torch is a dependency"
    assert spec.origin is not None
    return sorted({*(path.stem for path in (Path(spec.origin).parent / "model_configs").glob("*.json")), *EMBEDDED})
