"""Where each split of a data set lies: the settings of the formats that have a path for each."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metaft.config.paths import Place, as_on_disk, folders_beside, no_folder
from metaft.config.schema import DataConfig
from metaft.data.sources import MORE, NAMES, usable
from metaft.errors import DataError, Fault, few
from metaft.texts import PLAIN, oddity

SPLITS = ("id_train", "id_val", "ood_val", "id_test", "ood_test")


class Layout(BaseModel):
    """The path of each split, below `data.root` or absolute.

    Without `id_val` a tenth of `id_train` is held out. `ood_test` maps names to paths, and `more` maps names to the
    paths of further labelled images to train on; one named `pretraining` is what the method `rehearsal` goes over.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id_train: Place = Path("id_train")
    id_val: Place | None = Path("id_val")
    ood_val: Place = Path("ood_val")
    id_test: Place = Path("id_test")
    ood_test: dict[str, Place] = Field(default_factory=dict)
    more: dict[str, Place] = Field(default_factory=dict)

    @field_validator("ood_test")
    @classmethod
    def _plain(cls, value: dict[str, Path]) -> dict[str, Path]:
        return plainly_named(value)

    @field_validator("more")
    @classmethod
    def _named(cls, value: dict[str, Path]) -> dict[str, Path]:
        odd = [name for name in value if not usable(name)]
        if odd:
            raise ValueError(f"names of {NAMES}, not {', '.join(map(repr, odd))}")
        return value

    def found(self, base: Path) -> Self:
        """The same, with paths below a folder in the Unicode form in which they are written there."""

        def of(path: Path) -> Path:
            there = as_on_disk(base / path)
            return there if path.is_absolute() else there.relative_to(base)

        own = {name: of(path) for name in SPLITS[:-1] if (path := getattr(self, name)) is not None}
        maps = {name: {key: of(path) for key, path in getattr(self, name).items()} for name in ("ood_test", "more")}
        return self.model_copy(update={**own, **maps})

    def places(self, domains: dict[str, Path], tests: dict[str, Path], *, ood_val: bool = True) -> dict[str, Path]:
        """The path of each split by its name.

        Args:
            domains: those of ood_val; none where it is one.
            ood_val: whether it is opened at all; not where `data.corruptions` stand in for it.
        """
        judging = {f"ood_val/{domain}": path for domain, path in domains.items()} or {"ood_val": self.ood_val}
        places = {
            "id_train": self.id_train,
            "id_val": self.id_val,
            **(judging if ood_val else {}),
            "id_test": self.id_test,
            **{f"ood_test/{name}": path for name, path in tests.items()},
            **{f"more/{name}": path for name, path in self.more.items()},
        }
        return {name: path for name, path in places.items() if path is not None}


def plainly_named(tests: dict[str, Path]) -> dict[str, Path]:
    """Tests by name, which are to be written into files.

    Raises:
        ValueError: a name that breaks its line or that UTF-8 cannot hold, or an empty one.
    """
    odd = [name for name in tests if not name.strip() or oddity(name)]
    if odd:
        raise ValueError(f"names of {PLAIN}, not {odd[0]!a}")
    return tests


def judges(name: str) -> bool:
    """Whether the images of a split judge, which those to train on do not."""
    return name != "id_train" and not name.startswith(MORE)


def needs_root(data: DataConfig) -> list[Fault]:
    """The fault of settings that give neither a root folder nor a path of id_train."""
    if data.root is None and "id_train" not in data.options:
        return [Fault("data.root", "nothing given", "the folder of your splits, or a path for each in data.options")]
    return []


def root_of(data: DataConfig) -> Path:
    """The folder that paths are below.

    Raises:
        DataError: it is not there.
    """
    root = data.root or Path()
    if not root.is_dir():
        raise DataError(f"data.root: {missing(root)}; allowed: the folder that holds your splits")
    return root


def missing(path: Path) -> str:
    """A message that a split's folder does not exist, and which one beside it may be meant, but for other splits."""
    return no_folder(path, SPLITS)


def unlike(path: Path, data: DataConfig) -> str:
    """A message that the folder with which a layout begins does not exist, what is there, and what is wanted."""
    there = few(sorted(folders_beside(path))) or "no folder"
    looked = "" if data.root else " (nothing is given for data.root)"
    wanted = f"{path.name}/CLASS/*.jpg, and so {', '.join(SPLITS[1:])}/NAME, or other names in data.options"
    return f"{missing(path)}{looked}; {path.parent} holds {there}; allowed: {wanted}"
