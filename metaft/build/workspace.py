"""An opened data set and a loaded model: all that search, training and evaluation share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metaft.build.check import device_faults
from metaft.clip.classifier import Classifier, caption_tokens, trainable, zero_shot
from metaft.clip.load import Clip, load
from metaft.clip.precision import whole_float32
from metaft.clip.trunk import ROOM, Trunk
from metaft.config.schema import Config, SearchConfig
from metaft.data import registry
from metaft.data.duplicates import compared, stood_in_for
from metaft.data.first_reading import FirstReading, Seen
from metaft.data.types import ImageView, Split, Splits
from metaft.determinism import settle
from metaft.errors import ConfigError, Fault, first_line
from metaft.metrics import BY_SET, METRICS
from metaft.progress import tell

SAMPLE = 256  # images of a split that its fingerprint is of


@dataclass(frozen=True)
class Workspace:
    """The settings of a run with all that is opened for it.

    Args:
        classifier: theta_0; nothing changes it.
        tokens: caption tokens [C, M, L].
        suite: the data format, and its version, which is None unless it is an embedded suite.
    """

    cfg: Config
    device: torch.device
    clip: Clip
    classifier: Classifier
    splits: Splits
    tokens: Tensor
    suite: Mapping[str, Any]

    @property
    def search(self) -> SearchConfig:
        """The settings of the search, the metric by its name: left open, what papers report of the set, or accuracy."""
        search = self.cfg.search
        if search.metric != BY_SET:
            return search
        return search.model_copy(update={"metric": registry.metric(self.cfg.data) or "accuracy"})

    @property
    def reading(self) -> tuple[str, bool]:
        """How files become pixels: the ground of transparent ones, and whether EXIF rotations are followed."""
        return self.cfg.data.ground, self.cfg.data.exif_rotation

    @cached_property
    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """By split, the number of its images and a hash of what is known of them, as JSON types."""
        begun: FirstReading = self.cfg.data.begun or FirstReading()
        return begun.fingerprints({name: _seen(split) for name, split in self.splits.parts.items()})

    def trained(self, *, text: bool) -> tuple[str, ...]:
        """The names of the parameters that train, with the text side or without."""
        return trainable(self.classifier, text=text, freeze=self.cfg.model.freeze)


def workspace(cfg: Config) -> Workspace:
    """Load the model, open every split, build the zero-shot classifier.

    Raises:
        CheckpointError, DataError: weights or data that cannot be opened.
        ConfigError: the device does not exist.
    """
    clip = model_of(cfg)
    return workspace_on(cfg, clip, *data_of(cfg, clip.view))


def model_of(cfg: Config) -> Clip:
    """The model that the settings name, on their device."""
    return load(cfg.model.name, cfg.model.pretrained, device(cfg), resize=cfg.model.resize)


def data_of(cfg: Config, view: ImageView) -> tuple[Splits, dict[str, Any]]:
    """The splits that the settings name at a model's image size, and their `suite` (see `Workspace`)."""
    suite = {"format": cfg.data.format, "version": registry.FORMATS[cfg.data.format].version}
    return registry.load(cfg.data, cfg.seed, view), suite


def workspace_on(cfg: Config, clip: Clip, splits: Splits, suite: Mapping[str, Any]) -> Workspace:
    """The workspace of a loaded model and opened splits.

    Raises:
        DataError: a picture that judges is among those to train on.
    """
    settle(cfg.deterministic)
    whole_float32()
    if suite["version"] is None:  # the pictures of an embedded suite are all different
        splits = compared(splits, published=_published(suite))
    chosen_device = device(cfg)
    tokens = caption_tokens(clip, splits.classes, chosen_device)
    classifier = zero_shot(clip, splits.classes, chosen_device, cfg.finetune.precision)
    classifier.trunk = Trunk(ROOM)
    work = Workspace(cfg, chosen_device, clip, classifier, splits, tokens, suite)
    if cfg.search.metric == BY_SET and registry.metric(cfg.data) is not None:
        title = METRICS[work.search.metric].title
        tell(f"models are chosen by {title}, as papers report it of this set (search.metric)")
    return work


def _seen(split: Split) -> Seen:
    """The number of a split's images and a hash of all labels, domains and groups and of some images, evenly spread.

    Hashes have 16 hexadecimal digits. The parts are of labels, domains and groups, and of each of these images.
    """
    total = hashlib.sha256(split.labels.numpy().tobytes())
    for kind, parts in (("domains", split.domains), ("groups", split.groups)):
        if parts is not None:
            total.update("\n".join([kind, *parts.names]).encode() + parts.numbers.numpy().tobytes())
    known, rows = total.hexdigest()[:16], range(0, len(split), -(-len(split) // SAMPLE))
    images = [image.numpy().tobytes() for image in split.source.pixels(rows)]
    for image in images:
        total.update(image)
    each = [hashlib.sha256(image).hexdigest()[:16] for image in images]
    own = ["" if stood_in_for(split, n) else image for n, image in zip(rows, each, strict=True)]
    return Seen({"n": len(split), "sha256": total.hexdigest()[:16]}, [known, *own])


def _published(suite: Mapping[str, Any]) -> bool:
    """Whether splits are those of a set that has a name; those of objects are of no format."""
    known = registry.FORMATS.get(suite["format"])
    return known is not None and known.published


def device(cfg: Config) -> torch.device:
    """The configured device; `auto` is a GPU where there is one.

    Raises:
        ConfigError: the device does not exist.
    """
    if faults := device_faults(cfg):  # torch knows devices that compute nothing
        raise ConfigError(faults)
    if cfg.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=cfg.device).device
    except (RuntimeError, AssertionError) as error:
        many = torch.cuda.device_count()
        allowed = (
            f"auto, cpu, cuda:0 to cuda:{many - 1}" if many else "auto or cpu, as there is no GPU that torch can use"
        )
        raise ConfigError([Fault("device", f"{cfg.device!r} ({first_line(error)})", allowed)]) from error


def devices(cfg: Config) -> list[str]:
    """The devices that workers take in turn: all GPUs where `auto` finds any, else the configured device alone."""
    if cfg.device == "auto" and torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [str(device(cfg))]
