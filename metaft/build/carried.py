"""An objective that a run has found, for another model: its learning rates and blocks go with the model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaft.config.read import dump, flatten, load
from metaft.config.schema import Config
from metaft.errors import ConfigError, Fault
from metaft.files import to_json, write
from metaft.objective.file import load_objective
from metaft.objective.objective import Objective
from metaft.progress import tell
from metaft.runfiles import OBJECTIVE, SETTINGS

if TYPE_CHECKING:  # so that a bad file is told at once
    from metaft.build.workspace import Workspace

_BLOCK = re.compile(r"block\.(\d+)\.(.+)")
Groups = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Carried:
    """The objective of a run, and the settings of that run."""

    objective: Objective
    settings: Config

    def to(self, work: Workspace) -> Objective:
        """The objective for the model of a workspace.

            lr' = lr * finetune.lr of the workspace / finetune.lr of the run
            block i of n' takes what block i n // n' of n has

        Weights stay as they are; so does the run's own model.
        """
        from metaft.clip.classifier import group_of

        rate = work.cfg.finetune.lr / self.settings.finetune.lr
        depth = _depth({group_of(name): {} for name, _ in work.classifier.named_parameters()})
        searched = _depth(self.objective.groups) if self.settings.objective.per_group else 0
        told = [f"learning rates times {rate:.3g}"] if rate != 1 else []
        told += [f"{searched} blocks to {depth}"] if searched and depth not in (0, searched) else []
        if told:
            tell(f"objective: {', '.join(told)} ({self.settings.model.name} to {work.cfg.model.name})")
        return carried(self.objective, rate, depth if searched else 0)


def given(place: Path) -> Objective | Carried:
    """The objective of a file, to be taken as it is, or that of a run's folder, to be carried.

    Raises:
        ConfigError: it cannot be read, or the folder holds no run that has found one.
    """
    if not place.is_dir():
        return load_objective(place)
    settings, file = place / SETTINGS, place / OBJECTIVE
    if not (settings.is_file() and file.is_file()):
        odd = (
            f"{place}, whose search has not ended" if settings.is_file() else f"{place} holds no run with an objective"
        )
        allowed = "an objective.yaml, or the folder of a run that has found one"
        raise ConfigError([Fault("--objective", odd, allowed)])
    return Carried(load_objective(file), load(settings))


def digest(source: Objective | Carried | None) -> str | None:
    """A hash of what was given, 16 hexadecimal digits; None: nothing."""
    if source is None:
        return None
    if isinstance(source, Carried):
        said = {"objective": asdict(source.objective), "settings": flatten(source.settings)}
    else:
        said = asdict(source)
    return hashlib.sha256(to_json(said).encode()).hexdigest()[:16]


def keep(source: Objective | Carried, folder: Path) -> None:
    """Write what was given into a folder, for `kept` to read again."""
    folder.mkdir()
    if isinstance(source, Carried):
        write(folder / SETTINGS, dump(source.settings))
    (source.objective if isinstance(source, Carried) else source).save(folder / OBJECTIVE)


def kept(folder: Path) -> Objective | Carried | None:
    """What `keep` has written; None: nothing."""
    if not folder.exists():
        return None
    return given(folder if (folder / SETTINGS).exists() else folder / OBJECTIVE)


def carried(objective: Objective, rate: float, depth: int) -> Objective:
    """An objective with learning rates times `rate`, its blocks' values spread over `depth` blocks (0: as they are)."""
    groups = {name: {**own, "lr": rate * own["lr"]} if "lr" in own else own for name, own in objective.groups.items()}
    schedule = tuple((start, carried(stage, rate, depth)) for start, stage in objective.schedule)
    return replace(objective, lr=rate * objective.lr, groups=_spread(groups, depth), schedule=schedule)


def _spread(groups: Groups, depth: int) -> Groups:
    """Groups for `depth` blocks: each has what the block at its share of the depth had."""
    before = _depth(groups)
    if depth == 0 or before == 0:
        return groups
    parts = dict.fromkeys(found[2] for name in groups if (found := _BLOCK.fullmatch(name)))
    sources = {f"block.{i}.{part}": f"block.{i * before // depth}.{part}" for i in range(depth) for part in parts}
    others = {name: own for name, own in groups.items() if not _BLOCK.fullmatch(name)}
    return {**others, **{name: groups[source] for name, source in sources.items() if source in groups}}


def _depth(groups: Groups) -> int:
    """The number of blocks, the last of which has the highest number; 0 where there is none."""
    return max((int(found[1]) + 1 for name in groups if (found := _BLOCK.fullmatch(name))), default=0)
