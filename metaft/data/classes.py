"""The classes of a data set, as captions and files name them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from metaft.errors import DataError, few
from metaft.progress import warn
from metaft.texts import PLAIN, is_blank, look, oddity, spelt


@dataclass(frozen=True)
class Classes:
    """Class names in label order, caption templates with one `{}` each, and each class's folder where it has one.

    Args:
        words: what captions say of each class of a published set, where it may be the same of several; (): its name.

    Raises:
        DataError: a name that breaks its line or that UTF-8 cannot hold: names are written into files, one a line.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    folders: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, name in enumerate(self.names):
            if odd := oddity(name):
                of = f", of the folder {self.folders[number]!a}," if self.folders else ""
                raise DataError(f"data: the class name {name!a}{of} has {odd}; allowed: {PLAIN}")

    @classmethod
    def published(cls, names: tuple[str, ...], templates: tuple[str, ...], folders: tuple[str, ...]) -> Classes:
        """Those of a set that is taken as it is given away, whose names may be alike, or empty.

        Such a class is told from others by its label, in files and reports; captions have the names as they are. A
        warning says which classes these are.
        """
        first, own, said = dict[str, int](), list(names), list[str]()
        for label, name in enumerate(names):
            before = first.setdefault(look(name), label)
            if is_blank(name):
                own[label] = f"class {label}"
                said.append(f"class {label} has no name")
            elif before != label:
                own[label] = f"{name} ({label})"
                said.append(f"class {label} is {spelt(name)!r}, as class {before} is")
        if said:
            warn(f"data: {few(said)}: as they are given away; captions do not tell these apart, labels do")
        return cls(tuple(own), templates, folders, names)

    @property
    def spoken(self) -> tuple[str, ...]:
        """What captions say of each class."""
        return self.words or self.names

    def refuse_alike(self) -> None:
        """Refuse names that an eye cannot tell apart, or see.

        Raises:
            DataError: one is empty, or looks as another does.
        """
        known, first = self.folders or self.names, dict[str, int]()
        for number, name in enumerate(self.names):
            before = first.setdefault(look(name), number)
            if before == number and not is_blank(name):
                continue
            other = spelt(self.names[before])
            named = "" if other.casefold() == spelt(name).casefold() else f", which is '{other}', to the eye"
            what = "empty" if is_blank(name) else f"'{spelt(name)}', as that of {spelt(known[before])}{named}"
            found = f"the name of class {spelt(known[number])} is {what}"
            raise DataError(f"data: {found}; allowed: a name of its own for each class")


def says_none(label: str) -> bool:
    """Whether a label is what programs write where there is none: -1, nan, or a mark of pandas, Excel or a database.

    >>> says_none("nan"), says_none("<NA>"), says_none("#REF!"), says_none("NA")
    (True, True, True, False)
    """
    excel = r"#(?:N/A|NULL!|DIV/0!|VALUE!|REF!|NAME\?|NUM!)"
    return re.fullmatch(rf"(?i:nan)|<NA>|{excel}|NULL|\\N|-\d+(?:\.0*)?", label) is not None
