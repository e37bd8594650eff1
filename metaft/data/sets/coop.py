"""CoOp's layout of a set: pictures as they are given away, and beside them split_zhou_NAME.json of its own split.

The file deals every picture to train, val or test, with the number and the name of its class. The classes are then
those of the file, not the set's: papers on these splits (CoOp, CoCoOp, MaPLe, ...) score models by them, and they are
others where a folder is left out (Caltech-101) or names are spelt in another way (Stanford Cars, the flowers). Blanks
stand for underscores in captions, as there. Those papers report accuracy, with `a photo of a {}.` for most sets.

Source: Zhou et al., Learning to prompt for vision-language models, IJCV 2022, and its code
(github.com/KaiyangZhou/CoOp: DATASETS.md, `read_split` in datasets/oxford_pets.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from metaft.data.sets.arrays import contents
from metaft.data.sets.entry import Home, Known, Layout, Part, Place, Reader
from metaft.data.stored import Files
from metaft.errors import DataError
from metaft.texts import read_text

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

ADDRESS = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
KEYS = {"id_train": "train", "id_val": "val", "id_test": "test"}  # what the file calls each part


class Row(NamedTuple):
    """A picture by its path below the pictures' folder, and its class."""

    picture: str
    label: int
    name: Annotated[str, AfterValidator(partial(normalize, "NFC"))]


class Deal(BaseModel):
    """What the file holds."""

    train: list[Row] = Field(min_length=1)
    val: list[Row] = Field(min_length=1)
    test: list[Row] = Field(min_length=1)


def layout(split: str, pictures: str, images: tuple[int, int, int], licence: str) -> Layout:
    """The layout of a set.

    Args:
        split: the path of the file below the root.
        pictures: the folder beside it that holds the pictures.
        images: how many are to train on, to validate and to test.
        licence: the pictures'.
    """
    home = Home(licence, ADDRESS)
    counts = dict(zip(KEYS, images, strict=True))
    parts = {name: Part((Place(split, _rows(key, pictures)),), counts[name], home) for name, key in KEYS.items()}
    return Layout(lambda root: _classes(root / split), parts)


def _rows(key: str, pictures: str) -> Reader:
    """Lists the pictures of a part."""

    def read(name: str, place: Path, classes: Sequence[str]) -> Listed:
        from metaft.data.pictures import Listed

        rows: list[Row] = getattr(contents(name, place, _deal), key)
        files = Files(place.parent / pictures / row.picture for row in rows)
        return Listed(name, place, files, [row.label for row in rows])

    return read


def _deal(path: Path) -> Deal:
    try:
        return Deal.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None


def _classes(path: Path) -> Known:
    """The classes by their numbers.

    Raises:
        DataError: the file cannot be read, or its numbers and names are not one to one, from 0 on.
    """
    deal: Deal = contents("classes", path, _deal)
    pairs = sorted({(row.label, row.name) for row in chain(deal.train, deal.val, deal.test)})
    names = tuple(name for _, name in pairs)
    odd = [pair for number, pair in enumerate(pairs) if pair[0] != number or names.count(pair[1]) > 1]
    if odd:
        found = f"a class {odd[0][1]!r} with number {odd[0][0]}"
        raise DataError(f"{path}: {found}; allowed: each number from 0 on for one name, and each name for one number")
    return Known(tuple(name.replace("_", " ") for name in names), names)
