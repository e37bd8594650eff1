"""The workspace of settings and a person's own objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, TypedDict

from torch import Tensor, nn
from torch.utils.data import Dataset

from metaft.build.check import faults_of
from metaft.build.workspace import Workspace, data_of, device, model_of, workspace_on
from metaft.clip.given import clip_of
from metaft.config.schema import Config, DataConfig
from metaft.data.captions import TEMPLATE, templates, usable
from metaft.data.corrupted import with_corrupted
from metaft.data.objects import splits_of
from metaft.data.sources import MORE
from metaft.data.types import Classes, ImageView, Splits
from metaft.errors import SHOWN, ConfigError, Fault, unknown
from metaft.texts import PLAIN, oddity

BESIDE = ("corruptions", "severity", "corrupted", "workers")  # settings under `data` that go with objects


class Objects(TypedDict, total=False):
    """The user's own objects, which replace the settings under `model` and `data`.

    Args:
        model: a model made by open_clip; it is copied, never changed.
        preprocess: open_clip's evaluation transform; by default the model's own.
        tokenizer: the model's, from open_clip.
        architecture: the model's name in open_clip; `Fitted.save` needs it.
        classnames: the names of the labels 0, 1, ..., in this order.
        templates: captions, each with one `{}` for a class name; by default open_clip's simple ones.
        splits: datasets by name (`id_train`, `id_val`, `ood_val` or `ood_val/NAME`, `id_test`, `ood_test/NAME`,
            `more/NAME`); see `metaft.data.objects.splits_of`. With `data.corruptions` no `ood_val` is needed.
        domains: by split, the domain of each image, a name or a whole number, in the order of the dataset; None: in
            none. Results are told by domain, and `search.metric=worst_group` is the worst of them.
        groups: by split, the group of each image (a camera, a patient), likewise; for every split that judges.
            Intervals and folds take whole groups.
    """

    model: nn.Module
    preprocess: Callable[[Any], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    architecture: str
    classnames: Sequence[str]
    templates: Sequence[str]
    splits: Mapping[str, Dataset[Any]]
    domains: Mapping[str, Sequence[str | int | None]]
    groups: Mapping[str, Sequence[str | int]]


def workspace_of(cfg: Config, objects: Objects) -> Workspace:
    """The workspace of settings and objects.

    Raises:
        ConfigError: every fault of both at once.
        DataError, CheckpointError: what cannot be read, and why.
    """
    faults = [*faults_of(cfg, _more(objects) if "splits" in objects else None), *_faults_of(cfg, objects)]
    if faults:
        raise ConfigError(faults)
    if "model" in objects:
        clip = clip_of(objects["model"], objects["tokenizer"], objects.get("architecture"), device(cfg))
    else:
        clip = model_of(cfg)
    splits, suite = _given(cfg, objects, clip.view) if "splits" in objects else data_of(cfg, clip.view)
    return workspace_on(cfg, clip, splits, suite)


def _texts(objects: Objects, argument: str, admits: Callable[[Any], bool], allowed: str) -> list[Fault]:
    """The faults of an argument that is to be a list of texts."""
    given: Any = objects.get(argument, ())
    if isinstance(given, str) or not isinstance(given, Collection):  # what can be gone through once is no list
        return [Fault(argument, f"a {type(given).__name__}", "a list of texts")]
    odd = ((number, text) for number, text in enumerate(given) if not admits(text))
    return [Fault(argument, f"{text!r} as item {number}", allowed) for number, text in islice(odd, SHOWN)]


def _given(cfg: Config, objects: Objects, view: ImageView) -> tuple[Splits, dict[str, Any]]:
    """The user's own splits, and their `suite`."""
    captions = tuple(objects.get("templates") or templates("simple"))
    classes = Classes(tuple(objects["classnames"]), captions)
    made = bool(cfg.data.corruptions)
    splits = splits_of(
        objects["splits"],
        classes,
        view,
        objects.get("preprocess"),
        cfg.seed,
        domains=objects.get("domains"),
        groups=objects.get("groups"),
        needs_ood_val=not made,
        workers=cfg.data.workers or 0,  # unasked, what a person's own code has open is not shared among processes
    )
    return with_corrupted(splits, cfg.data, cfg.seed) if made else splits, {"format": "objects", "version": None}


def _more(objects: Objects) -> list[str]:
    """The names of further sources."""
    return [name.removeprefix(MORE) for name in map(str, objects["splits"]) if name.startswith(MORE)]


def _faults_of(cfg: Config, objects: Objects) -> list[Fault]:
    """Arguments that are unknown, missing beside others, or say again what the settings say."""
    known = tuple(Objects.__annotations__)
    faults = [unknown("argument", name, known) for name in objects if name not in known]
    pairs = (("model", "tokenizer"), ("splits", "classnames"))
    for given, needed in (*pairs, *((b, a) for a, b in pairs)):
        if given in objects and needed not in objects:
            faults.append(Fault(needed, f"not given, but {given} is", "both or neither"))
    for given in ("domains", "groups"):
        if given in objects and "splits" not in objects:
            faults.append(Fault(given, "given, but splits are not", "those of the images of splits"))
        if not isinstance(objects.get(given, {}), Mapping):
            faults.append(Fault(given, f"a {type(objects.get(given)).__name__}", "lists by the names of splits"))
    others = cfg.data.model_copy(update={name: getattr(DataConfig(), name) for name in BESIDE})
    if "splits" in objects and others != DataConfig():
        found = "given, and settings under data too"
        faults.append(Fault("splits", found, f"one of them, or only {', '.join(BESIDE)} under data"))
    faults += _texts(objects, "templates", usable, TEMPLATE)
    faults += _texts(objects, "classnames", lambda name: isinstance(name, str) and not oddity(name), PLAIN)
    if not isinstance(objects.get("splits", {}), Mapping):
        faults.append(Fault("splits", f"a {type(objects['splits']).__name__}", "datasets by the names of splits"))
    for field, executor in (("search", cfg.search.executor), ("evaluation", cfg.evaluation.executor)):
        if objects and executor != "serial":
            elsewhere = f"{executor!r}, whose workers open data and model as settings say"
            faults.append(Fault(f"{field}.executor", elsewhere, "serial, where objects are given"))
    return faults
