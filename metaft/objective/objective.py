"""An objective: weights of terms, learning rate and weight decay, and how they make a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from metaft.errors import ConfigError, Problem, unknown
from metaft.files import write
from metaft.objective.registry import TERMS
from metaft.objective.state import StepState
from metaft.yamlfile import parse_yaml

VERSION = 1
OWN = ("terms", "lr", "wd", "groups")
HEADS = ("zero_shot", "linear_probe")
FIELDS = ("version", *OWN, "schedule", "head", "method")
STAGE = ("start", *OWN)


@dataclass(frozen=True)
class Objective:
    """What a fine-tune minimises and how fast, in natural units; this is what `objective.yaml` holds.

    `groups` overrides lr, wd or a penalty's weight for a parameter group (see `Classifier.groups`). `method` names a
    hook (see `metaft.hooks`) that acts in every step, with the values of its `knobs`. `schedule` holds what takes its
    place later, as (share of all steps, objective), by rising share; learning rates there are peaks too, of which every
    step takes the share that the fine-tune's own schedule gives it. `head` names the method whose last layer the
    fine-tune begins with; what theta_0 says of an image stays what its own head says.
    """

    terms: Mapping[str, float]
    lr: float
    wd: float
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    method: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    schedule: tuple[tuple[float, Objective], ...] = ()
    head: str = HEADS[0]

    def at(self, share: float) -> Objective:
        """What holds after a share of all steps."""
        return next((stage for start, stage in reversed(self.schedule) if start <= share), self)

    def values(self) -> dict[str, Any]:
        """One flat mapping: terms, `lr`, `wd`, `NAME@GROUP` for what a group overrides, `METHOD.KNOB`."""
        knobs = {f"{self.method}.{name}": value for name, value in self.knobs.items()}
        flat = {**self.terms, "lr": self.lr, "wd": self.wd, **knobs}
        for group, own in self.groups.items():
            for name, value in {**own.get("terms", {}), **{k: own[k] for k in ("lr", "wd") if k in own}}.items():
                flat[f"{name}@{group}"] = value
        return flat

    @classmethod
    def from_values(cls, values: Mapping[str, Any], method: str | None = None) -> Objective:
        """The inverse of `values`, which does not say by itself that a method has no knobs."""
        groups: dict[str, dict[str, Any]] = {}
        knobs = {key.partition(".")[2]: value for key, value in values.items() if is_knob(key)}
        values = {key: value for key, value in values.items() if not is_knob(key)}
        for key, value in values.items():
            name, at, group = key.partition("@")
            if at and name in ("lr", "wd"):
                groups.setdefault(group, {})[name] = value
            elif at:
                groups.setdefault(group, {}).setdefault("terms", {})[name] = value
        terms = {k: v for k, v in values.items() if "@" not in k and k not in ("lr", "wd")}
        return cls(terms, values["lr"], values["wd"], groups, method, knobs)

    @property
    def needs_text(self) -> bool:
        """Whether a term with a weight, now or later, needs the text tower."""
        own = any(weight != 0 and TERMS[name].needs_text for name, weight in self.terms.items())
        return own or any(stage.needs_text for _, stage in self.schedule)

    def save(self, path: Path) -> None:
        """Write objective.yaml."""
        stages = [{"start": start, **stage._own()} for start, stage in self.schedule]
        document = {"version": VERSION, **self._own(), "schedule": stages or None}
        if self.head != HEADS[0]:
            document["head"] = self.head
        if self.method is not None:
            document["method"] = {"name": self.method, **self.knobs}
        write(path, yaml.safe_dump(document, sort_keys=False))

    def _own(self) -> dict[str, Any]:
        """Terms, lr, wd and groups as YAML's types."""
        groups = {name: dict(own) for name, own in self.groups.items()}
        return {"terms": dict(self.terms), "lr": self.lr, "wd": self.wd, "groups": groups}


def load_objective(path: Path) -> Objective:
    """Read objective.yaml.

    Raises:
        ConfigError: every fault of the file.
    """
    problems: list[Problem] = []
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"), str(path), problems)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("--objective", f"cannot read {path}: {error}", "an objective.yaml")]) from error
    if not isinstance(document, dict):
        raise ConfigError([*problems, Problem(str(path), "no mapping", ", ".join(FIELDS))])
    problems += [unknown(f"{path}: {key}", str(key), FIELDS) for key in document if key not in FIELDS]
    if document.get("version") != VERSION:
        problems.append(Problem(f"{path}: version", repr(document.get("version")), str(VERSION)))
    head = document.get("head", HEADS[0])
    if head not in HEADS:
        problems.append(unknown(f"{path}: head", str(head), HEADS))
    own = _read(str(path), document, problems)
    schedule = _stages(f"{path}: schedule", document.get("schedule") or [], problems)
    knobs = dict(_mapping(f"{path}: method", document.get("method"), problems))
    method = knobs.pop("name", None)
    if not isinstance(method, str | None) or (knobs and method is None):
        problems.append(Problem(f"{path}: method", f"{method!r} for a name", "null, or a mapping with a name"))
    if problems:
        raise ConfigError(problems)
    stages = tuple((s["start"], _made(s)) for s in schedule)
    return replace(_made(own), method=method, knobs=knobs, schedule=stages, head=head)


def _made(own: Mapping[str, Any]) -> Objective:
    return Objective(own["terms"], float(own["lr"]), float(own["wd"]), own["groups"])


def _stages(where: str, found: Any, problems: list[Problem]) -> list[dict[str, Any]]:
    """The stages of a schedule, by rising start."""
    if not isinstance(found, list) or not all(isinstance(stage, dict) for stage in found):
        problems.append(Problem(where, f"{found!r}", f"null, or a list of mappings with {', '.join(STAGE)}"))
        return []
    stages = []
    for number, stage in enumerate(found):
        place = f"{where}.{number}"
        problems += [unknown(f"{place}: {key}", str(key), STAGE) for key in stage if key not in STAGE]
        _numbers(place, {"start": stage.get("start")}, problems)
        stages.append({"start": stage.get("start"), **_read(place, stage, problems)})
    starts = [s["start"] for s in stages if isinstance(s["start"], int | float)]
    if starts != sorted(set(starts)) or any(start >= 1 for start in starts):
        problems.append(Problem(where, f"starts {starts}", "shares of all steps, rising, below 1"))
    return stages


def _read(where: str, document: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Terms, lr, wd and groups of an objective or of a stage of its schedule."""
    terms = _mapping(f"{where}: terms", document.get("terms"), problems)
    groups = _mapping(f"{where}: groups", document.get("groups"), problems)
    _numbers(f"{where}: terms", terms, problems)
    problems += [unknown(f"{where}: terms", str(name), TERMS) for name in terms if name not in TERMS]
    _numbers(where, {k: document.get(k) for k in ("lr", "wd")}, problems)
    for group, own in groups.items():
        place = f"{where}: groups.{group}"
        own = own if isinstance(own, dict) else {"(value)": own}
        problems += [unknown(place, str(k), ("lr", "wd", "terms")) for k in own if k not in ("lr", "wd", "terms")]
        _numbers(place, {k: own[k] for k in ("lr", "wd") if k in own}, problems)
        penalties = _mapping(f"{place}.terms", own.get("terms"), problems)
        _numbers(f"{place}.terms", penalties, problems)
        names = [name for name, t in TERMS.items() if t.penalty]
        problems += [unknown(f"{place}.terms", str(n), names) for n in penalties if n not in names]
    return {"terms": terms, "groups": groups, **{k: document.get(k) for k in ("lr", "wd")}}


def _mapping(where: str, value: Any, problems: list[Problem]) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        problems.append(Problem(where, f"{value!r}", "a mapping"))
        return {}
    return value or {}


def _numbers(where: str, values: Mapping[str, Any], problems: list[Problem]) -> None:
    for key, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < float("inf"):
            problems.append(Problem(f"{where}.{key}", repr(value), "a finite number of at least 0"))


@dataclass(frozen=True)
class WeightedLoss:
    """The weighted sum of terms: sum_i h[i] * scale_i * term_i(state).

    A penalty is called once for each parameter group whose weight differs (`NAME@GROUP` in h), otherwise once for
    all parameters; its scale is fixed by the number of all trained scalars, so equal group weights add up to one
    global weight.

    Args:
        groups: parameter names by group.
        count: N, how many scalars are trained.
        penalty_scale: `standard` (each penalty's own scale) or `released` (1 / N, AutoFT's code).
    """

    groups: Mapping[str, tuple[str, ...]]
    count: int
    penalty_scale: str = "standard"

    def scale(self, name: str) -> float:
        """The factor of a term."""
        term = TERMS[name]
        return 1 / self.count if term.penalty and self.penalty_scale == "released" else term.scale(self.count)

    def __call__(self, state: StepState, h: Mapping[str, Any]) -> Tensor:
        """The loss [] at a state, for weights h by name (numbers or 0-d tensors)."""
        total = torch.zeros((), dtype=state.logits.dtype, device=state.logits.device)
        return sum(self.parts(state, h).values(), total)

    def parts(self, state: StepState, h: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss by term, each with its weights and scale; terms without a weight are left out.

        Raises:
            ConfigError: the state is part of a graph, but a term's value is not: it has no derivative.
        """
        return {name: self._part(name, state, weights) for name in TERMS if (weights := self._weights(name, h))}

    def _part(self, name: str, state: StepState, weights: Sequence[tuple[Any, tuple[str, ...] | None]]) -> Tensor:
        total = torch.zeros((), dtype=state.logits.dtype, device=state.logits.device)
        for weight, members in weights:
            value = TERMS[name](state if members is None else _restrict(state, members))
            if state.logits.requires_grad and not value.requires_grad:
                raise ConfigError([Problem("objective.terms", f"{name!r} has no derivative", "differentiable terms")])
            total = total + weight * self.scale(name) * value
        return total

    def _weights(self, name: str, h: Mapping[str, Any]) -> list[tuple[Any, tuple[str, ...] | None]]:
        """A term's weights but for those that are the number 0, each with the parameters it is for (None: all)."""
        if any(key.startswith(f"{name}@") for key in h):
            own = [(h.get(f"{name}@{g}", h.get(name, 0.0)), members) for g, members in self.groups.items()]
            found: list[tuple[Any, tuple[str, ...] | None]] = [*own]
        else:
            found = [(h[name], None)] if name in h else []
        return [(weight, members) for weight, members in found if isinstance(weight, Tensor) or weight != 0]


def _restrict(state: StepState, names: tuple[str, ...]) -> StepState:
    return replace(
        state,
        params={k: state.params[k] for k in names if k in state.params},
        pretrained={k: state.pretrained[k] for k in names if k in state.pretrained},
    )


def per_group(h: Mapping[str, Any], name: str, group: str) -> Any:
    """`NAME@GROUP` where h has it, else `NAME`."""
    key = f"{name}@{group}"
    return h[key] if key in h else h[name]


def base_name(name: str) -> str:
    """NAME of `NAME@GROUP`."""
    return name.partition("@")[0]


def is_knob(name: str) -> bool:
    """Whether a hyperparameter is a method's own, METHOD.KNOB."""
    return "." in base_name(name)
