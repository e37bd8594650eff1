"""The names of further sources of training images."""

from __future__ import annotations

import re

MORE = "more/"  # before a source's name, among splits
PRETRAINING = "pretraining"  # the source that the method `rehearsal` goes over
TAKEN = ("id_train", "id_val", "ood_val", "id_test")
NAMES = f"small letters, digits and _, unlike {', '.join(TAKEN)}"  # a source's weight has its name in the space


def usable(name: str) -> bool:
    """Whether a further source may have this name; NAMES says in words which may."""
    return re.fullmatch(r"[a-z0-9_]+", name) is not None and name not in TAKEN
