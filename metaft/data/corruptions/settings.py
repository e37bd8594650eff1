"""The settings of corrupted images: which corruptions they name, and what is wrong with them."""

from __future__ import annotations

from metaft.config.schema import DataConfig
from metaft.data.corruptions.levels import NAMES
from metaft.data.corruptions.photographs import INSTALL, photographs
from metaft.errors import Fault, all_unknown

ALL, FIELD = "all", "data.corruptions"
FROST = "frost"


def chosen(data: DataConfig) -> tuple[str, ...]:
    """The names of the corruptions that the settings ask for; none where they ask for none."""
    return NAMES if ALL in data.corruptions else data.corruptions


def faults(data: DataConfig) -> list[Fault]:
    """Faults of the settings of corrupted images, before anything is opened."""
    names = chosen(data)
    given = [name for name in ("severity", "corrupted") if getattr(data, name) != DataConfig.model_fields[name].default]
    rules = [
        (
            not names and bool(given),
            Fault(FIELD, f"nothing given, but {' and '.join(f'data.{name}' for name in given)}", "all, or names"),
        ),
        (
            ALL in data.corruptions and len(data.corruptions) > 1,
            Fault(FIELD, "all, and others by name", "all, or names"),
        ),
        (len({*names}) < len(names), Fault(FIELD, ", ".join(names), "each name once")),
        (
            FROST in names and not photographs(),
            Fault(
                FIELD,
                "frost, whose photographs are not installed",
                f"{INSTALL}, or others: [{', '.join(name for name in NAMES if name != FROST)}]",
            ),
        ),
        (
            data.corrupted is not None and data.corrupted < len(names),
            Fault("data.corrupted", f"{data.corrupted} for {len(names)} corruptions", "at least one image of each"),
        ),
    ]
    odd = all_unknown(FIELD, names, (ALL, *NAMES))
    return [*odd, *(fault for broken, fault in rules if broken)]
