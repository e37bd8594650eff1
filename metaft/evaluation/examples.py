"""What one model gets right that another gets wrong, and the reverse, with pictures that are no tests'."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from metaft.data.types import Split
from metaft.finetune.crossfit import Judged

SHOWN = 12  # pictures of a kind
SIDE = 96  # of a picture, in pixels, at most
SHARP = 64  # of those that are kept as they are; larger ones are compressed


def examples(model: Judged, other: Judged, split: Split, names: Sequence[str]) -> dict[str, Any]:
    """Images of a split that a model names rightly and another does not (`fixed`), and the reverse (`broken`).

    Of each kind the number, and those `shown` whose label has gained, or lost, most by log p of the one and the other;
    an image with its label, what both say, its domain, and the picture as base64 where the split has pixels.

    Args:
        model, other: what they say of all images of the split.
        names: of the classes.
    """
    rise = _log_p(model) - _log_p(other)
    kinds = {"fixed": (model.correct & ~other.correct, rise), "broken": (other.correct & ~model.correct, -rise)}
    document: dict[str, Any] = {"images": len(split)}
    for kind, (where, by) in kinds.items():
        rows = where.nonzero()[:, 0]
        rows = rows[by[rows].argsort(descending=True, stable=True)]
        told = [_told(row, model, other, split, names) for row in rows[:SHOWN].tolist()]
        document[kind] = {"count": len(rows), "shown": told}
    return document


def _log_p(judged: Judged) -> Tensor:
    """The log-probability of each image's label, float64 [N]."""
    return judged.logits.double().log_softmax(dim=1).gather(1, judged.labels[:, None])[:, 0]


def _told(row: int, model: Judged, other: Judged, split: Split, names: Sequence[str]) -> dict[str, Any]:
    domain = -1 if split.domains is None else int(split.domains.numbers[row])
    return {
        "label": names[int(model.labels[row])],
        "said": names[int(model.predictions[row])],
        "before": names[int(other.predictions[row])],
        "domain": None if split.domains is None or domain < 0 else split.domains.names[domain],
        "picture": _picture(split, row),
    }


def _picture(split: Split, row: int) -> dict[str, str] | None:
    """An image's picture as base64, with its format; None where its source has no pixels of eight bits."""
    pixels = split.source.pixels([row])[0]
    if pixels.dtype != torch.uint8:
        return None
    image, file = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy()), BytesIO()
    image.thumbnail((SIDE, SIDE))
    kind = "png" if max(image.size) <= SHARP else "jpeg"
    image.save(file, format=kind)
    return {"format": kind, "base64": base64.b64encode(file.getvalue()).decode()}
