"""An objective: weights of terms, learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaft.config.plain import plain
from metaft.config.yamlfile import to_yaml
from metaft.errors import ConfigError, Fault, first_line
from metaft.files import refuse_unusable_folder, write
from metaft.names import ALPHA, Name, source_name, source_of
from metaft.objective.form import VERSION, faults_of
from metaft.objective.heads import ZERO_SHOT
from metaft.objective.registry import TERMS, compare_images


@dataclass(frozen=True)
class Objective:
    """What a fine-tune minimises and how fast, in natural units; this is what `objective.yaml` holds.

    Args:
        terms: weights by term.
        lr, wd: learning rate at its peak, and weight decay.
        groups: lr, wd or weights of penalties of a parameter group's own (see `metaft.clip.classifier.group_of`).
        method: a hook (see `metaft.hooks`) that acts in every step, with the values of its `knobs`.
        schedule: the objectives that replace it later, as (share of all steps, objective), by rising share. Their
            learning rates are peaks too, which the fine-tune's warm-up and cosine scale in every step.
        head: the last layer that the fine-tune begins with (see `metaft.objective.heads`); theta_0 is the pretrained
            model with this head, for terms that keep to its outputs or its parameters.
        sources: weights of cross-entropy on further sources of images (`ood_val`, or a name of `data.options.more`).
        alpha: the share in [0, 1] of the way from where the fine-tune begins, head included, at which its weights end.

    >>> Objective({"ce": 1.0, "l2init": 0.01}, lr=1e-3, wd=0.1).values()
    {'ce': 1.0, 'l2init': 0.01, 'lr': 0.001, 'wd': 0.1}
    """

    terms: Mapping[str, float]
    lr: float
    wd: float
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    method: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    schedule: tuple[tuple[float, Objective], ...] = ()
    head: str = ZERO_SHOT
    sources: Mapping[str, float] = field(default_factory=dict)
    alpha: float = 1.0

    def at(self, share: float) -> Objective:
        """The objective that holds after a share of all steps, in [0, 1]."""
        return next((stage for start, stage in reversed(self.schedule) if start <= share), self)

    def values(self) -> dict[str, Any]:
        """One flat mapping by written name (see `metaft.names`)."""
        flat = {**self.terms, "lr": self.lr, "wd": self.wd}
        flat |= {source_name(source): weight for source, weight in self.sources.items()}
        flat |= {} if self.alpha == 1 else {ALPHA: self.alpha}
        flat |= {str(Name(knob, method=self.method)): value for knob, value in self.knobs.items()}
        for group, overrides in self.groups.items():
            plain = {key: overrides[key] for key in ("lr", "wd") if key in overrides}
            for base, value in {**overrides.get("terms", {}), **plain}.items():
                flat[str(Name(base, group))] = value
        return flat

    @classmethod
    def from_values(cls, values: Mapping[str, Any], method: str | None = None) -> Objective:
        """The inverse of `values`, to which a method without knobs has to be named."""
        groups: dict[str, dict[str, Any]] = {}
        knobs, terms, sources = {}, {}, {}
        for key, value in values.items():
            name, source = Name.parse(key), source_of(key)
            if source is not None:
                sources[source] = value
            elif key == ALPHA:
                continue
            elif name.is_knob:
                knobs[name.base] = value
            elif name.group is not None:
                overrides = groups.setdefault(name.group, {})
                (overrides if name.of_optimizer else overrides.setdefault("terms", {}))[name.base] = value
            elif not name.of_optimizer:
                terms[name.base] = value
        alpha = values.get(ALPHA, 1.0)
        return cls(terms, values["lr"], values["wd"], groups, method, knobs, sources=sources, alpha=alpha)

    @property
    def weighted(self) -> bool:
        """Whether anything has a weight at its beginning, without which there is no loss."""
        own = [weight for group in self.groups.values() for weight in group.get("terms", {}).values()]
        return any(weight != 0 for weight in (*self.terms.values(), *self.sources.values(), *own))

    @property
    def needs_text(self) -> bool:
        """Whether a term with a weight, now or later, needs the text tower."""
        now = any(weight != 0 and TERMS[name].needs_text for name, weight in self.terms.items())
        return now or any(stage.needs_text for _, stage in self.schedule)

    @property
    def compares_images(self) -> bool:
        """Whether a term with a weight compares the images of a batch, so that parts of one are another loss."""
        return compare_images(self.terms)

    @property
    def trained_sources(self) -> tuple[str, ...]:
        """The further sources with a weight, now or later."""
        stages = (self, *(stage for _, stage in self.schedule))
        return tuple(dict.fromkeys(name for stage in stages for name, weight in stage.sources.items() if weight != 0))

    def save(self, path: str | Path) -> None:
        """Write objective.yaml.

        Raises:
            ConfigError: no file could hold it, every fault; or there is no room for one at this path.
        """
        document = self.document()
        if Path(path).is_dir():
            raise ConfigError([Fault("path", f"{path}, a folder", "a file")])
        refuse_unusable_folder(Path(path).parent)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(Path(path), to_yaml(document))

    def document(self) -> dict[str, Any]:
        """What objective.yaml holds, as plain values.

        Raises:
            ConfigError: no file could hold it; every fault.
        """
        try:
            document: dict[str, Any] = plain(self._document())
        except (AttributeError, TypeError, ValueError) as error:
            found = f"a value that is none of an objective's ({first_line(error)})"
            raise ConfigError([Fault("objective", found, "what an objective.yaml can hold")]) from error
        faults = [*faults_of("objective", document), *self._left_out()]
        if faults:
            raise ConfigError(faults)
        return document

    def _left_out(self) -> list[Fault]:
        """Faults of what no file keeps: values other than mappings, and what a stage has of the whole objective."""
        values = ((name, getattr(self, name)) for name in ("terms", "groups", "sources", "knobs"))
        faults = [Fault(f"objective: {k}", repr(v), "a mapping") for k, v in values if not isinstance(v, Mapping)]
        plain = Objective({}, 0.0, 0.0)
        return faults + [
            Fault(f"objective: schedule.{i}.{name}", repr(getattr(stage, name)), "that of the whole objective")
            for i, (_, stage) in enumerate(self.schedule)
            for name in ("method", "knobs", "schedule", "head", "alpha")
            if getattr(stage, name) not in (getattr(plain, name), getattr(self, name))
        ]

    def _document(self) -> dict[str, Any]:
        stages = [{"start": start, **stage._stage()} for start, stage in self.schedule]
        document = {"version": VERSION, **self._stage(), "schedule": stages or None}
        if self.head != ZERO_SHOT:
            document["head"] = self.head
        if self.alpha != 1:
            document[ALPHA] = self.alpha
        if self.method is not None:
            document["method"] = {"name": self.method, **self.knobs}
        return document

    def _stage(self) -> dict[str, Any]:
        sources = {"sources": self.sources} if self.sources else {}
        return {"terms": self.terms, **sources, "lr": self.lr, "wd": self.wd, "groups": self.groups}
