"""The public functions: each takes settings, or the user's own objects, and returns a typed result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from torch import Tensor, nn
from torch.utils.data import Dataset

from metaft import pipeline
from metaft.build import fits as fitting
from metaft.build.check import faults_of
from metaft.build.workspace import Workspace, device, workspace, workspace_on
from metaft.clip.classifier import Classifier
from metaft.clip.export import export
from metaft.clip.given import clip_of
from metaft.clip.load import load
from metaft.config.read import from_mapping
from metaft.config.read import load as load_settings
from metaft.config.schema import Config, DataConfig
from metaft.cost import Cost
from metaft.data import registry
from metaft.data.captions import templates
from metaft.data.objects import splits_of
from metaft.data.types import Classes
from metaft.errors import ConfigError, Fault, unknown
from metaft.finetune.context import FitContext
from metaft.objective.file import load_objective
from metaft.objective.objective import Objective
from metaft.results import Results, SearchResult
from metaft.search.journal import Journal
from metaft.search.registry import HYPERGRAD

Settings = str | Path | Mapping[str, Any] | Config | None
LEARNED = ("autoft", "autoft_wise")  # methods that need a learned objective
EXAMPLE: dict[str, Any] = {  # settings of the docstrings' examples: the toy CLIP on a few digits, seconds on a CPU
    "data": {"options": {"id_train": 100, "id_val": 40, "ood_val": 60, "test": 40}},
    "inner": {"steps": 2, "batch_size": 8},
    "search": {"trials": 2, "candidates": 1},
    "finetune": {"epochs": 1},
    "evaluation": {"bootstrap": 100},
}


class Objects(TypedDict, total=False):
    """The user's own objects, which replace the settings under `model` and `data`.

    Args:
        model: a model made by open_clip; it is copied, never changed.
        preprocess: open_clip's evaluation transform; by default the model's own.
        tokenizer: the model's, from open_clip.
        architecture: the model's name in open_clip; `Fitted.save` needs it.
        classnames: the names of the labels 0, 1, ..., in this order.
        templates: captions, each with one `{}` for a class name; by default open_clip's simple ones.
        splits: datasets by name (`id_train`, `id_val`, `ood_val`, `id_test`, `ood_test/NAME`); see
            `metaft.data.objects.splits_of`.
    """

    model: nn.Module
    preprocess: Callable[[Any], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    architecture: str
    classnames: Sequence[str]
    templates: Sequence[str]
    splits: Mapping[str, Dataset[Any]]


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned classifier.

    Args:
        classifier: images to logits: `fitted.classifier(images).logits`, [B, 3, S, S] to [B, C].
        method: the name of the method that fitted it.
        objective: the learned objective it was trained with, if any.
        cost: step equivalents at `finetune.batch_size`, and seconds; methods that this one builds on are included.

    >>> from metaft.api import EXAMPLE
    >>> fitted = finetune(EXAMPLE, method="ft")
    >>> fitted.save("model")
    >>> sorted(path.name for path in Path("model").glob("open_clip*"))
    ['open_clip_config.json', 'open_clip_model.safetensors']
    """

    classifier: Classifier
    method: str
    objective: Objective | None
    cost: Cost
    work: Workspace = field(repr=False)

    @property
    def classnames(self) -> tuple[str, ...]:
        """The class names in the order of the logits, C of them."""
        return self.work.splits.classes.names

    def save(self, folder: str | Path) -> None:
        """Write a folder that open_clip can open, with the head and a `load.py` that shows how to use both.

        Raises:
            ConfigError: the model was given without its `architecture`.
        """
        export(self.classifier, self.work.clip, self.classnames, Path(folder))


def search(settings: Settings = None, *, mode: str | None = None, **objects: Unpack[Objects]) -> SearchResult:
    """Search for the objective that makes the fine-tuned model generalise.

        min_h L(theta_T(h); OOD validation set),  theta_T(h) after T steps from theta_0 on the ID images

    Args:
        settings: a YAML file, a dict (nested, or with dotted keys) or a `Config`; None: the embedded example.
        mode: hypergrad, tpe or random; by default that of the settings, else hypergrad.
        objects: see `Objects`; test splits are not needed.

    Raises:
        ConfigError: every fault of the settings and arguments at once.
        DataError, CheckpointError: data or weights that cannot be read.
        DivergedError: no trial gave a finite value.

    Source: Choi et al., AutoFT, arXiv 2401.10220 (by black-box search).

    >>> from metaft.api import EXAMPLE
    >>> result = search(EXAMPLE, mode="random")
    >>> result.objective.terms["ce"], len(result.trials)
    (1.0, 2)
    """
    work = _opened(_config(settings, mode=mode), objects)
    return _searched(work)


def finetune(
    settings: Settings = None,
    *,
    objective: Objective | str | Path | None = None,
    method: str | None = None,
    **objects: Unpack[Objects],
) -> Fitted:
    """Fine-tune with a learned objective, or by another method.

    Args:
        settings: as for `search`.
        objective: what a search has found, or the path of its objective.yaml.
        method: one that `--list methods` shows; by default autoft with an objective, ft without.
        objects: see `Objects`.

    Raises:
        ConfigError: a fault of the settings, the arguments or the objective; `autoft` without an objective.
        DataError, CheckpointError: data or weights that cannot be read.
        DivergedError: the training left the range in which its numbers mean anything.

    >>> from metaft.api import EXAMPLE
    >>> fitted = finetune(EXAMPLE, objective=Objective({"ce": 1.0, "l2init": 0.01}, lr=1e-3, wd=0.1))
    >>> fitted.method, len(fitted.classnames)
    ('autoft', 10)
    """
    learned = _objective(objective)
    chosen = method or ("ft" if learned is None else "autoft")
    if learned is None and chosen in LEARNED:
        missing = f"none, and {chosen} trains with one"
        raise ConfigError([Fault("objective", missing, "an Objective, or the path of an objective.yaml")])
    cfg = _config(settings, method=chosen)
    work = _opened(cfg, objects, learned)
    fit = fitting.fits(work, FitContext(fitting.fit_settings(work, learned)))(chosen)
    return Fitted(fit.model, chosen, learned, fit.cost, work)


def compare(
    settings: Settings = None,
    *,
    methods: Sequence[str] | None = None,
    objective: Objective | str | Path | None = None,
    mode: str | None = None,
    **objects: Unpack[Objects],
) -> Results:
    """Fit methods and evaluate each on every test split; a method that diverges is left out and named.

    Args:
        settings: as for `search`.
        methods: names that `--list methods` shows; by default `evaluation.methods`.
        objective: for `autoft`; without one it is searched for first.
        mode: as for `search`.
        objects: see `Objects`.

    Raises:
        ConfigError, DataError, CheckpointError: as for `search`; a ConfigError too without any test split.
        DivergedError: no trial of the search gave a finite value.

    >>> from metaft.api import EXAMPLE
    >>> results = compare(EXAMPLE, methods=["zero_shot", "ft"])
    >>> results.methods, results.splits
    (('zero_shot', 'ft'), ('id_test', 'ood_test/handwritten'))
    """
    learned = _objective(objective)
    cfg = _config(settings, methods=methods, mode=mode)
    work = _with_tests(_opened(cfg, objects, learned))
    chosen = [name for name in cfg.evaluation.methods if name in fitting.servable(work)]
    results = pipeline.blank(work)
    if learned is None and set(chosen) & set(LEARNED):
        searched = _searched(work)
        learned, results = searched.objective, replace(results, mode=work.cfg.search.mode, search=searched.to_dict())
    fits = fitting.fits(work, FitContext(fitting.fit_settings(work, learned)))
    return pipeline.compare(work, fits, chosen, pipeline.with_objective(results, learned))


def evaluate(fitted: Fitted, settings: Settings = None, **objects: Unpack[Objects]) -> Results:
    """Evaluate a fine-tuned classifier on every test split.

    Args:
        fitted: what `finetune` returned.
        settings, objects: other data than it was trained with, of the same classes; by default the tests of its data.

    Raises:
        ConfigError, DataError: as for `compare`; a ConfigError too for other classes.

    >>> from metaft.api import EXAMPLE
    >>> results = evaluate(finetune(EXAMPLE, method="zero_shot"))
    >>> 0 <= results.metrics["zero_shot"]["id_test"]["accuracy"] <= 1
    True
    """
    work = fitted.work
    if settings is not None or objects:
        work = _opened(_config(settings), objects)
    if work.splits.classes.names != fitted.classnames:
        others = (
            f"{len(work.splits.classes.names)} classes, other than the {len(fitted.classnames)} it was trained with"
        )
        raise ConfigError([Fault("classnames", others, "the same in the same order")])
    scores = fitting.scored(_with_tests(work), fitted.classifier)
    drift = fitting.drift(fitted.work)(fitted.classifier)
    results = pipeline.with_objective(pipeline.blank(work), fitted.objective)
    return results.with_method(fitted.method, scores, fitted.cost, drift)


def _config(
    settings: Settings,
    *,
    mode: str | None = None,
    method: str | None = None,
    methods: Sequence[str] | None = None,
) -> Config:
    """The settings, overridden by the arguments of a call."""
    if isinstance(settings, Mapping):
        cfg = from_mapping(settings)
    else:
        cfg = settings if isinstance(settings, Config) else load_settings(settings)
    raw = cfg.model_dump(mode="json")
    raw["search"]["mode"] = mode or cfg.search.mode or HYPERGRAD
    if methods is not None:
        raw["evaluation"]["methods"] = list(methods)
    if method is not None or methods is not None:
        raw["finetune"]["method"] = method or next(iter(methods or ()), cfg.finetune.method)
    return from_mapping(raw)


def _objective(objective: Objective | str | Path | None) -> Objective | None:
    return objective if isinstance(objective, Objective | None) else load_objective(objective)


def _searched(work: Workspace) -> SearchResult:
    fits = fitting.fits(work, FitContext(fitting.fit_settings(work)))
    return pipeline.find(work, pipeline.prepared(work), Journal(), fits)


def _opened(cfg: Config, objects: Objects, learned: Objective | None = None) -> Workspace:
    """The workspace of settings and objects.

    Raises:
        ConfigError: every fault of both at once.
    """
    faults = [*faults_of(cfg), *_faults_of(cfg, objects)]
    if faults:
        raise ConfigError(faults)
    if not objects:
        return pipeline.checked(workspace(cfg), learned)
    chosen_device = device(cfg)
    if "model" in objects:
        clip = clip_of(objects["model"], objects["tokenizer"], objects.get("architecture"), chosen_device)
    else:
        clip = load(cfg.model.name, cfg.model.pretrained, chosen_device)
    if "splits" not in objects:
        suite = {"format": cfg.data.format, "version": registry.FORMATS[cfg.data.format].version}
        splits = registry.load(cfg.data, cfg.seed, clip.view)
    else:
        suite = {"format": "objects", "version": None}
        captions = tuple(objects.get("templates") or templates("simple"))
        classes = Classes(tuple(objects["classnames"]), captions)
        splits = splits_of(objects["splits"], classes, clip.view, objects.get("preprocess"), cfg.seed)
    return pipeline.checked(workspace_on(cfg, clip, splits, suite), learned)


def _faults_of(cfg: Config, objects: Objects) -> list[Fault]:
    """Faults of arguments that are unknown, lack their partner, or give again what the settings give."""
    known = tuple(Objects.__annotations__)
    faults = [unknown("argument", name, known) for name in objects if name not in known]
    pairs = (("model", "tokenizer"), ("splits", "classnames"))
    for given, needed in (*pairs, *((b, a) for a, b in pairs)):
        if given in objects and needed not in objects:
            faults.append(Fault(needed, f"not given, but {given} is", "both or neither"))
    if "splits" in objects and cfg.data != DataConfig():
        faults.append(Fault("splits", "given, and settings under data too", "one of them"))
    odd = [template for template in objects.get("templates", ()) if template.count("{}") != 1]
    faults += [Fault("templates", repr(template), "captions with one {} each") for template in odd]
    if objects and cfg.search.executor != "serial":
        parallel = f"{cfg.search.executor!r}, whose workers make the problem from settings"
        faults.append(Fault("search.executor", parallel, "serial, where objects are given"))
    return faults


def _with_tests(work: Workspace) -> Workspace:
    """The workspace, if it has a test split.

    Raises:
        ConfigError: it has none.
    """
    if not work.splits.tests:
        raise ConfigError([Fault("splits", "no test among them", "id_test, ood_test/NAME")])
    return work
