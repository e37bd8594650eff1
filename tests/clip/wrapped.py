"""Checkpoints as people have them, made from a state dict."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@contextmanager
def passing_module(name: str, **members: Any) -> Iterator[ModuleType]:
    """A module that is importable for as long as something is pickled, and unknown afterwards."""
    module = ModuleType(name)
    for key, member in members.items():
        if isinstance(member, type):
            member.__module__, member.__qualname__ = name, key
        setattr(module, key, member)
    sys.modules[name] = module
    try:
        yield module
    finally:
        del sys.modules[name]


class ImageEncoder(nn.Module):
    """wise-ft's: an attribute `model` and the preprocessing beside it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train_preprocess = object


class ImageClassifier(nn.Module):
    """wise-ft's: an encoder and a head."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.image_encoder, self.classification_head = encoder, head


def dump_wise_ft(model: nn.Module, path: Path, *, plain: bool, head: nn.Module | None = None) -> None:
    """A classifier of wise-ft, by pickle.dump as its own code writes it, or by torch.save."""
    with passing_module("wise_ft_modeling", ImageEncoder=ImageEncoder, ImageClassifier=ImageClassifier):
        classifier = ImageClassifier(ImageEncoder(model), head or nn.Linear(64, 2))
        if plain:
            path.write_bytes(pickle.dumps(classifier))
        else:
            torch.save(classifier, path)
