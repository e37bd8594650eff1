"""Architectures that open_clip knows for the time of a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from open_clip import add_model_config, factory


@contextmanager
def added(name: str, config: dict[str, Any], folder: Path) -> Iterator[None]:
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config))
    add_model_config(file)
    try:
        yield
    finally:
        factory._MODEL_CONFIG_PATHS[:] = [path for path in factory._MODEL_CONFIG_PATHS if path != file]
        factory._MODEL_CONFIGS.pop(name)
