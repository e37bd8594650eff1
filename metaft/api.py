"""The public functions: each takes settings, or the user's own objects, and returns a typed result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from metaft import pipeline
from metaft.build import fits as fitting
from metaft.build.carried import Carried, given
from metaft.build.comparison import Elsewhere, workers
from metaft.build.objects import Objects, workspace_of
from metaft.build.workspace import Workspace
from metaft.checkpoints import Checkpoints
from metaft.clip.classifier import Classifier
from metaft.clip.export import export
from metaft.config.read import from_mapping
from metaft.config.read import load as load_settings
from metaft.config.schema import Config
from metaft.cost import Cost
from metaft.errors import ConfigError, Fault
from metaft.files import refuse_unusable_folder
from metaft.finetune.context import FitContext
from metaft.finetune.fits import Memory
from metaft.finetune.methods import LEARNED
from metaft.objective.heads import AUTO
from metaft.objective.objective import Objective
from metaft.results import Results, SearchResult
from metaft.search.journal import Journal
from metaft.search.registry import HYPERGRAD

Settings = str | Path | Mapping[str, Any] | Config | None
EXAMPLE: dict[str, Any] = {  # settings of the docstrings' examples: the toy CLIP on a few digits, seconds on a CPU
    "data": {"options": {"id_train": 100, "id_val": 40, "ood_val": 60, "test": 40}},
    "inner": {"steps": 2, "batch_size": 8},
    "search": {"trials": 2, "candidates": 1},
    "finetune": {"epochs": 1},
    "evaluation": {"bootstrap": 100},
}


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
            ConfigError: the model was given without its `architecture`, or the folder cannot be made or written to.
        """
        refuse_unusable_folder(folder)
        export(self.classifier, self.work.clip, self.classnames, Path(folder), self.work.reading)


def search(settings: Settings = None, *, mode: str | None = None, **objects: Unpack[Objects]) -> SearchResult:
    """Search for the objective that makes the fine-tuned model generalise.

        min_h L(theta_T(h); OOD validation set),  theta_T(h) after T steps from theta_0 on the ID images

    Args:
        settings: a YAML file, a dict (nested, or with dotted keys) or a `Config`; None: the embedded example.
        mode: hypergrad, or a sampler such as tpe; by default that of the settings, else hypergrad.
        objects: see `metaft.build.objects.Objects`; test splits are not needed.

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
    return _searched(work, Memory())


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
        objective: what a search has found, the path of its objective.yaml, or a run's folder: then its learning rates
            and blocks go with the model.
        method: one that `--list methods` shows; by default autoft with an objective, ft without.
        objects: see `metaft.build.objects.Objects`.

    Raises:
        ConfigError: a fault of the settings, the arguments or the objective; `autoft` without an objective.
        DataError, CheckpointError: data or weights that cannot be read.
        DivergedError: the training left the range in which its numbers mean anything.

    >>> from metaft.api import EXAMPLE
    >>> fitted = finetune(EXAMPLE, objective=Objective({"ce": 1.0, "l2init": 0.01}, lr=1e-3, wd=0.1))
    >>> fitted.method, len(fitted.classnames)
    ('autoft', 10)
    """
    source = _source(objective)
    chosen = method or ("ft" if source is None else "autoft")
    if source is None and chosen in LEARNED:
        missing = f"none, and {chosen} trains with one"
        raise ConfigError([Fault("objective", missing, "an Objective, or the path of an objective.yaml")])
    cfg = _config(settings, method=chosen)
    work = _opened(cfg, objects)
    learned = pipeline.received(work, source)
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

    `handed_back` of the results names the method whose model a run would give to its user, and why.

    Args:
        settings: as for `search`.
        methods: names that `--list methods` shows; by default `evaluation.methods`.
        objective: for `autoft`; without one it is searched for first.
        mode: as for `search`.
        objects: see `metaft.build.objects.Objects`.

    Raises:
        ConfigError, DataError, CheckpointError: as for `search`; a ConfigError too without any test split.
        DivergedError: no trial of the search gave a finite value.

    >>> from metaft.api import EXAMPLE
    >>> results = compare(EXAMPLE, methods=["zero_shot", "ft"])
    >>> results.methods, results.splits
    (('zero_shot', 'ft'), ('id_test', 'ood_test/handwritten'))
    """
    source = _source(objective)
    cfg = _config(settings, methods=methods, mode=mode)
    work = _with_tests(_opened(cfg, objects))
    learned = pipeline.received(work, source)
    chosen = fitting.told_methods(work) if methods is None else _servable(work, methods)
    results, store = pipeline.blank(work), Memory()  # an online search leaves the model of autoft there
    if learned is None and set(chosen) & set(LEARNED):
        searched = _searched(work, store)
        learned, results = searched.objective, replace(results, mode=work.cfg.search.mode, search=searched.to_dict())
    results = pipeline.with_objective(results, learned)
    context = FitContext(fitting.fit_settings(work, learned))
    with TemporaryDirectory() as folder, workers(Elsewhere(work.cfg, Path(folder))) as several:
        kept = store if several is None else _put(store, Checkpoints(Path(folder), work.classifier))
        return pipeline.compare(work, fitting.fits(work, context, kept), chosen, results, several=several)


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
    if not isinstance(fitted, Fitted):
        raise ConfigError([Fault("fitted", f"a {type(fitted).__name__}", "what metaft.finetune returned")])
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
    if not isinstance(settings, Config | Mapping | str | Path | None):
        raise ConfigError([Fault("settings", f"a {type(settings).__name__}", "a path, a mapping, a Config or None")])
    if isinstance(methods, str) or not isinstance(methods, Sequence | None):
        raise ConfigError([Fault("methods", f"a {type(methods).__name__}", "a list of names, or None")])
    if isinstance(settings, Mapping):
        cfg = from_mapping(settings)
    else:
        cfg = settings if isinstance(settings, Config) else load_settings(settings)
    raw = cfg.model_dump(mode="json")
    raw["search"]["mode"] = mode or cfg.search.mode or HYPERGRAD
    if methods is not None:
        raw["evaluation"]["methods"] = list(methods)
        raw["finetune"]["method"] = cfg.finetune.method if cfg.finetune.method in methods else AUTO
    if method is not None:
        raw["finetune"]["method"] = method
    return from_mapping(raw)


def _source(objective: Objective | str | Path | None) -> Objective | Carried | None:
    """Where the objective of a call comes from.

    Raises:
        ConfigError: every fault of it.
    """
    if isinstance(objective, Objective):
        objective.document()  # whose faults are told before anything is opened
    elif not isinstance(objective, str | Path | None):
        found = f"a {type(objective).__name__}"
        raise ConfigError([Fault("objective", found, "an Objective, a path of one or of a run, or None")])
    return given(Path(objective)) if isinstance(objective, str | Path) else objective


def _searched(work: Workspace, store: Memory) -> SearchResult:
    return pipeline.find(work, pipeline.prepared(work), Journal(), fitting.fits(work, store=store))


def _put(fits: Memory, kept: Checkpoints) -> Checkpoints:
    """The folder with fits from memory, for workers to find them there."""
    for name, fit in fits.kept.items():
        kept.put(name, fit)
    return kept


def _opened(cfg: Config, objects: Objects) -> Workspace:
    """The workspace of settings and objects, if it can serve them."""
    return pipeline.checked(workspace_of(cfg, objects))


def _servable(work: Workspace, methods: Sequence[str]) -> list[str]:
    """The methods that were asked for by name, all of which the data have to serve."""
    able = fitting.servable(work)
    faults = [
        Fault("methods", f"{name!r}, which these data cannot serve", ", ".join(able))
        for name in methods
        if name not in able
    ]
    if faults:
        raise ConfigError(faults)
    return list(methods)


def _with_tests(work: Workspace) -> Workspace:
    """The workspace, if it has a test split.

    Raises:
        ConfigError: it has none.
    """
    if not work.splits.tests:
        raise ConfigError([Fault("splits", "no test among them", "id_test, ood_test/NAME")])
    return work
