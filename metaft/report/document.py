"""Reading a results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaft.errors import DataError

Document = Mapping[str, Any]  # the contents of a results.json
BESIDE_METRICS = ("n", "ci95", "groups", "by_domain")  # what the score of a split holds beside its metrics


def read(folder: Path) -> Document:
    """A run's results.

    Raises:
        DataError: they are missing or unreadable.
    """
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(results["methods"], dict):
            raise TypeError("methods is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no readable results ({error}); allowed: the folder of a metaft run") from error
    return results  # type: ignore[no-any-return]
