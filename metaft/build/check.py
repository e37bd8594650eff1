"""Faults that settings show before anything is opened: unknown names, impossible ranges, contradictions.

Names are looked up without importing what they name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from metaft.clip.names import architectures
from metaft.config.limits import WIDEST, admits, allowed
from metaft.config.schema import Config
from metaft.data import registry as data
from metaft.errors import ConfigError, Fault, all_unknown, unknown
from metaft.finetune.methods import METHODS
from metaft.hooks.knobs import Knob
from metaft.hooks.knobs import faults as knob_faults
from metaft.hooks.registry import HOOKS, searchable_knobs
from metaft.inner.registry import EAGER, LINEAR_SOLVERS, refusals
from metaft.metrics import BY_SET, METRICS
from metaft.names import ALPHA, OOD_VAL, Name, source_name
from metaft.objective.heads import AUTO, HEADS
from metaft.objective.registry import TERMS, comparing
from metaft.search.executors.registry import EXECUTORS, SERIAL
from metaft.search.registry import AUTO as BY_METRIC
from metaft.search.registry import HYPERGRAD, OUTER_LOSSES, SAMPLERS
from metaft.space import SCALES
from metaft.trackers.registry import TRACKERS

PRECISION = 2.0**-23  # of a float32, in which a search holds parameters
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:[0-9]{1,2})?")


def check(cfg: Config) -> None:
    """Refuse settings with a fault; see `faults_of`.

    Raises:
        ConfigError: every fault at once.
    """
    faults = faults_of(cfg)
    if faults:
        raise ConfigError(faults)


def faults_of(cfg: Config, more: Iterable[str] | None = None) -> list[Fault]:
    """Faults of names that no registry holds, of ranges, and of settings that do not go together.

    Args:
        more: the names of further sources; None: those that `data.options` names.
    """
    sources = list(_more(cfg) if more is None else more)
    return [
        *_names(cfg, sources),
        *_weights(cfg, sources),
        *_bounds(cfg),
        *_values(cfg),
        *_solver(cfg),
        *_sampler(cfg),
        *_workers(cfg),
        *_trackers(cfg),
        *_knobs(cfg),
        *_data(cfg),
        *_parts(cfg),
        *device_faults(cfg),
    ]


def _names(cfg: Config, more: Iterable[str]) -> list[Fault]:
    """Faults of names that no registry holds."""
    knobs, objective, search = _searched_knobs(cfg), cfg.objective, cfg.search
    sources = (*([OOD_VAL] if cfg.trains_on_ood_val else []), *more)
    weights = {*map(source_name, sources), *([ALPHA] if cfg.mixes else [])}
    searched = {*objective.terms, "lr", "wd", *knobs, *weights} - set(objective.fixed)
    grouped = {"lr", "wd", *(name for name, term in TERMS.items() if term.penalty)}
    lists: list[tuple[str, Iterable[str], Iterable[str]]] = [
        ("report_to", cfg.report_to, TRACKERS),
        ("data.format", [cfg.data.format], data.FORMATS),
        ("objective.terms", objective.terms, TERMS),
        ("objective.fixed", objective.fixed, {*TERMS, "lr", "wd", *knobs, *weights}),
        ("objective.weight_scale", [objective.weight_scale], SCALES),
        ("objective.per_group", objective.per_group, searched & grouped),
        ("objective.head", [objective.head], (AUTO, *HEADS)),
        ("objective.bounds", objective.bounds, searched),
        ("objective.recipe", objective.recipe, searched),
        ("search.metric", [search.metric], [BY_SET, *(name for name, metric in METRICS.items() if metric.sought_by)]),
        ("search.outer_loss", [search.outer_loss], (BY_METRIC, *OUTER_LOSSES)),
        ("search.method", [] if search.method is None else [search.method], HOOKS),
        ("hypergrad.linear_solver", [cfg.hypergrad.linear_solver], LINEAR_SOLVERS),
        ("finetune.method", [cfg.finetune.method], {AUTO, *METHODS}),
        ("finetune.knobs", cfg.finetune.knobs, METHODS),
        ("evaluation.methods", cfg.evaluation.methods, METHODS),
        ("model.name", [] if ":" in cfg.model.name else [cfg.model.name], architectures()),
    ]
    odd = [fault for field, names, known in lists for fault in all_unknown(field, names, known)]
    differentiated = sorted(searched) if search.mode == HYPERGRAD else ()
    step = cfg.inner if search.mode == HYPERGRAD else EAGER
    return odd + refusals(cfg.hypergrad.estimator, cfg.hypergrad.storage, differentiated, step)


def _weights(cfg: Config, more: Iterable[str]) -> list[Fault]:
    """The fault of a search in which nothing has a weight, so that there is no loss."""
    fixed = {Name.parse(name).base: value for name, value in cfg.objective.fixed.items() if value != 0}
    sources = map(source_name, (*([OOD_VAL] if cfg.trains_on_ood_val else []), *more))
    searched = {*cfg.objective.terms, *sources} - {name for name, value in cfg.objective.fixed.items() if value == 0}
    if cfg.search.mode is None or searched or set(fixed) - {"lr", "wd", ALPHA, *_searched_knobs(cfg)}:
        return []
    return [Fault("objective.terms", "none, and nothing fixed has a weight", "a term, or one fixed above 0")]


def _more(cfg: Config) -> list[str]:
    """The names of further sources under `data.options`, whatever else is wrong there."""
    more = cfg.data.options.get("more", {})
    return [str(name) for name in more] if isinstance(more, dict) else []


def _searched_knobs(cfg: Config) -> dict[str, Knob]:
    """The knobs of `search.method` by their names in the space; none where it is not a registered hook."""
    return searchable_knobs(cfg.search.method) if cfg.search.method in HOOKS else {}


def _knobs(cfg: Config) -> list[Fault]:
    """Faults of values that a method's knobs do not admit."""
    by_method = {name: values for name, values in cfg.finetune.knobs.items() if name in METHODS}
    faults = [
        fault
        for name, values in by_method.items()
        for fault in knob_faults(f"finetune.knobs.{name}", METHODS[name].knobs, values)
    ]
    for field, given in (("objective.fixed", cfg.objective.fixed), ("objective.recipe", cfg.objective.recipe)):
        wrong = [(knob, given[name]) for name, knob in _searched_knobs(cfg).items() if name in given]
        faults += [Fault(f"{field}.{k.name}", repr(v), k.allowed) for k, v in wrong if not k.admits(v)]
    return faults


def _solver(cfg: Config) -> list[Fault]:
    """Faults of search settings that the solver of `search.mode` cannot use."""
    search, gradients, spacing = cfg.search, cfg.search.mode == HYPERGRAD, cfg.hypergrad.spacing
    sampler, head = SAMPLERS.get(search.mode or ""), cfg.objective.head
    moving = [name for name in _searched_knobs(cfg) if name not in cfg.objective.fixed]
    still = f"null, regime restart, or {', '.join(moving)} under objective.fixed"
    apart = ", ".join((AUTO, *(name for name, registered in HEADS.items() if not registered.fits_ood_val)))
    rules = [
        (
            head in HEADS and HEADS[head].fits_ood_val and not cfg.trains_on_ood_val,
            Fault("objective.head", f"{head!r}, which trains on ood_val, though the search may not", apart),
        ),
        (
            gradients and cfg.hypergrad.regime == "online" and search.executor != SERIAL,
            Fault("search.executor", f"{search.executor!r} with the online regime, one training long", SERIAL),
        ),
        (
            gradients and search.stop_hopeless,
            Fault("search.stop_hopeless", "true with hypergrad", "false, or --mode tpe or random"),
        ),
        (
            sampler is not None and search.init == "tpe",
            Fault("search.init", f"'tpe' with {search.mode}", "recipe, or --mode hypergrad"),
        ),
        (
            search.init == "tpe" and cfg.hypergrad.regime == "online",
            Fault("search.init", "'tpe' with hypergrad.regime online", "recipe, or regime restart"),
        ),
        (
            gradients and cfg.hypergrad.regime == "online" and bool(moving),
            Fault("search.method", f"{search.method!r} with hypergrad.regime online, which moves no knobs", still),
        ),
        (
            search.use_ood_labels == "train" and cfg.hypergrad.regime == "online",
            Fault("search.use_ood_labels", "'train' with hypergrad.regime online", "judge or auto, or regime restart"),
        ),
        (
            search.use_ood_labels == "train" and search.outer_data != OOD_VAL,
            Fault("search.use_ood_labels", "'train' with search.outer_data id_val", "judge or auto"),
        ),
        (
            gradients and cfg.hypergrad.estimator == "implicit" and cfg.objective.fixed.get(ALPHA, 1) != 1,
            Fault(f"objective.fixed.{ALPHA}", "less than 1, with estimator implicit, which is true at an end", "1"),
        ),
        (
            gradients and cfg.hypergrad.estimator == "auto" and spacing is not None,
            Fault("hypergrad.spacing", f"{spacing}, with estimator auto, which goes by errors", "null, or differences"),
        ),
        (
            gradients and spacing is not None and spacing < PRECISION,
            Fault("hypergrad.spacing", f"{spacing}, which rounds to no difference", f"{PRECISION:.1g} to {WIDEST}"),
        ),
        (
            gradients and cfg.inner.compile and cfg.hypergrad.check_every > 0,
            Fault("hypergrad.check_every", f"{cfg.hypergrad.check_every}, with inner.compile", "0"),
        ),
        (
            (gradients or (sampler is not None and not sampler.learns)) and search.warm_start is not None,
            Fault("search.warm_start", f"given with {search.mode}", "null, or --mode tpe"),
        ),
    ]
    return [fault for broken, fault in rules if broken]


def _sampler(cfg: Config) -> list[Fault]:
    """The fault of a sampler whose package is not installed."""
    sampler = SAMPLERS.get(cfg.search.mode or "")
    if sampler is None or sampler.installed:
        return []
    there = [HYPERGRAD, *(name for name, kind in SAMPLERS.items() if kind.installed)]
    allowed = ", ".join([*there, f"or pip install 'metaft[{sampler.package}]'"])
    return [Fault("search.mode", f"{cfg.search.mode!r}, which is not installed", allowed)]


def _workers(cfg: Config) -> list[Fault]:
    """Faults of where work runs."""
    faults, others = [], [name for name in EXECUTORS if name != SERIAL]
    for section, where in (("search", cfg.search), ("evaluation", cfg.evaluation)):
        name, known = where.executor, EXECUTORS.get(where.executor)
        if known is None:
            faults.append(unknown(f"{section}.executor", name, EXECUTORS))
        elif not known.installed:
            allowed = ", ".join([*(n for n in EXECUTORS if n != name), f"or pip install 'metaft[{name}]'"])
            faults.append(Fault(f"{section}.executor", f"{name!r}, which is not installed", allowed))
        if name == SERIAL and where.workers != 1:
            allowed = f"1, or one of {', '.join(others)}"
            faults.append(Fault(f"{section}.workers", f"{where.workers} with executor {name}", allowed))
        if name != "ray" and where.gpu_share != 1:
            faults.append(Fault(f"{section}.gpu_share", f"{where.gpu_share:g} with executor {name}", "1, or ray"))
    return faults


def _trackers(cfg: Config) -> list[Fault]:
    """Faults of trackers that are not installed."""
    absent = [name for name in cfg.report_to if name in TRACKERS and not TRACKERS[name].installed]
    return [Fault("report_to", f"{n!r}, which is not installed", f'pip install "metaft[{n}]"') for n in absent]


def _bounds(cfg: Config) -> list[Fault]:
    """Faults of ranges from which no dimension can be made."""
    faults, knobs = [], _searched_knobs(cfg)
    scale = SCALES.get(cfg.objective.weight_scale)
    for name, (low, high) in cfg.objective.bounds.items():
        field, range_ = f"objective.bounds.{name}", f"[{low}, {high}]"
        if name in knobs:
            if not (knobs[name].admits(low) and knobs[name].admits(high) and low < high):
                faults.append(Fault(field, range_, f"low < high within {knobs[name].allowed}"))
            continue
        weight = not Name.parse(name).of_optimizer
        positive, base = name == "lr" or (weight and scale is not None and scale.positive), Name.parse(name).base
        if not 0 <= low < high or (positive and low == 0) or not (admits(base, low) and admits(base, high)):
            form = "0 < low < high (log scale)" if positive else "0 <= low < high"
            faults.append(Fault(field, range_, f"{form}, {allowed(base)}"))
    return faults


def _values(cfg: Config) -> list[Fault]:
    """Faults of learning rates, weight decays and weights that none can be; knobs have ranges of their own."""
    given = (("objective.fixed", cfg.objective.fixed), ("objective.recipe", cfg.objective.recipe))
    return [
        Fault(f"{field}.{name}", repr(value), allowed(Name.parse(name).base))
        for field, values in given
        for name, value in values.items()
        if not Name.parse(name).is_knob and not admits(Name.parse(name).base, value)
    ]


def _data(cfg: Config) -> list[Fault]:
    return data.faults(cfg.data) if cfg.data.format in data.FORMATS else []


def _parts(cfg: Config) -> list[Fault]:
    """Faults of batches that are to be cut into more parts than they have images, or where a loss compares these."""
    faults = [
        Fault(f"{section}.accumulate", str(where.accumulate), f"1 to {section}.batch_size, {where.batch_size}")
        for section, where in (("inner", cfg.inner), ("finetune", cfg.finetune))
        if where.accumulate > where.batch_size
    ]
    fixed = (name for name, value in cfg.objective.fixed.items() if value != 0)
    across = comparing(dict.fromkeys((*cfg.objective.terms, *fixed)))
    if cfg.search.mode is not None and cfg.inner.accumulate > 1 and across:
        found = f"{cfg.inner.accumulate}, with {', '.join(across)}, which compares the images of a batch"
        faults.append(Fault("inner.accumulate", found, "1, or objective.terms without it"))
    return faults


def device_faults(cfg: Config) -> list[Fault]:
    """The fault of a malformed name; the process that loads the model finds out whether the device exists."""
    if DEVICE.fullmatch(cfg.device):
        return []
    return [Fault("device", repr(cfg.device), "auto, cpu, cuda, cuda:N")]
