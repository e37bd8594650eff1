"""webdataset: pictures in tar archives, as in CLIP_benchmark's folders or as shards for the webdataset package.

Headers and labels are read once, and each picture from its place in its shard, since any may be asked for by its
number; the package, which streams whole shards, is not needed for that.

Source: the folders, names and labels are those of LAION-AI/CLIP_benchmark (clip_benchmark/webdataset_builder.py and
`build_wds_dataset` in datasets/builder.py), the keys those of `base_plus_ext` in webdataset/tariterators.py.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from metaft.config.schema import DataConfig
from metaft.data.layout import Layout, judges, missing, root_of
from metaft.data.sets.imagenet import labels_in_imagenet
from metaft.data.stored import Files
from metaft.data.tree import HIDDEN, entries, folders, in_order, is_hidden, readable
from metaft.errors import DataError, few, first_line, hint
from metaft.texts import read_text, whole

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed
    from metaft.data.types import ImageView, Splits

COUNT, NAMES, TASK = "nshards.txt", "classnames.txt", "dataset_type.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
SHARDS_AT_MOST, BRACES = 10**5, 50  # of a split, and of its path
ARCHIVES = (
    ".tar",
    ".tgz",
    *(f".tar.{packer}" for packer in ("gz", "bz2", "xz", "zst", "zip")),
)  # packed ones are refused
SHARD = "*.[tT][aA][rR]"
OTHER_TASKS = ("retrieval", "multilabel")
SHARDS = "shards (*.tar): their folder, one of them, or several as in train-{000..009}.tar"


class Options(Layout):
    """Settings of `data.format: webdataset`, under `data.options`: where the shards of each split lie.

    A path, below `data.root` or absolute, is a folder of shards, one shard, or several as in `train-{000..009}.tar`.
    Without `id_val` a tenth of `id_train` is held out. `ood_val` may hold shards, or a folder of shards for each
    domain. `ood_test` maps names to paths; without it, every folder in `root/ood_test` is one test. `more` maps names
    to the paths of further labelled images to train on. Labels are numbers of lines of the nearest classnames.txt, from
    the shards' folder up to `data.root`; classes of other splits are those of id_train with the same name. A folder
    with nshards.txt, as CLIP_benchmark's are, is taken as it is published: names may be alike, or empty, and templates
    name the class as often as they like; ImageNet-A's and -R's names are of their classes in ImageNet. `json_keys`
    are what labels may be called in KEY.json, where there is no KEY.cls. `group_key` is what the group of a picture is
    called there (see `Split`), where it is given: for all splits that judge.
    """

    json_keys: tuple[str, ...] = ("label", "cls")
    group_key: str | None = None


def load(options: Options, data: DataConfig, seed: int, view: ImageView) -> Splits:
    """Read the headers and labels of all shards and open the splits.

    Raises:
        DataError: a shard that is missing, damaged or ends early, a sample without a picture or a label, a label
            without a class, an unreadable image.
    """
    from metaft.data.captions import class_names, count, templates
    from metaft.data.pictures import opened
    from metaft.data.trained import trained
    from metaft.data.types import Classes

    base = root_of(data)
    options = options.found(base)
    own = _nearest(NAMES, base / options.id_train, base)
    source = own or data.classnames
    if source is None:
        where = f"{base / options.id_train}: no {NAMES} there or above"
        raise DataError(f"{where}; allowed: one, with a name a line for each class number, or data.classnames")
    published = own is not None and _is_published(base / options.id_train)
    shipped = _names_in(own, base / options.id_train) if own else ()
    numbers = [str(number) for number in range(len(shipped) or count(source))]
    names = shipped if data.classnames is None else class_names(data.classnames, numbers)
    classes = shipped or names
    written = _nearest(TEMPLATES, base / options.id_train, base)
    if data.templates is None and written is not None:
        texts = templates(str(written), published=published)
    else:
        texts = templates(data.templates or "simple")
    tests = options.ood_test or _folders_of_shards(base / "ood_test") or {"all": Path("ood_test")}
    domains = _folders_of_shards(base / options.ood_val)
    places = options.places(domains, tests, ood_val=not data.corruptions)
    found = {
        name: _listed(name, base / path, Naming.of(base / path, base, classes), options)
        for name, path in places.items()
    }
    known = (names, texts, tuple(numbers))
    named = Classes.published(*known) if published else Classes(*known)
    return trained(opened(found, named, data, seed, view))


def _is_published(place: Path) -> bool:
    """Whether shards lie in a folder as CLIP_benchmark writes and gives it away."""
    return os.path.lexists(place / COUNT)


def _names_in(source: Path, place: Path) -> tuple[str, ...]:
    """The names of the class numbers of shards at a place."""
    from metaft.data.captions import listed

    return listed(source, published=_is_published(place))


@dataclass(frozen=True)
class Naming:
    """What the class numbers of a split mean.

    Args:
        source: the file that names them; None: id_train's.
        names: by number.
        labels: by number, in id_train; None where it has no class of the name.
        classes: those of id_train.
        doubtful: names that are there twice, here or in id_train, of other lists than id_train's.
    """

    source: Path | None
    names: Sequence[str]
    labels: Sequence[int | None]
    classes: Sequence[str]
    doubtful: frozenset[str] = frozenset()

    @classmethod
    def of(cls, place: Path, base: Path, classes: Sequence[str]) -> Naming:
        """By the nearest classnames.txt, or those of id_train without one; parts of ImageNet by their own lists."""
        source = _nearest(NAMES, place, base)
        names = _names_in(source, place) if source else classes
        if names == classes:
            return cls(source, names, range(len(names)), classes)
        if (labels := labels_in_imagenet(names, classes)) is not None:
            return cls(source, names, labels, classes)
        known = {name: label for label, name in enumerate(classes)}
        twice = frozenset(name for each in (names, classes) for name, count in Counter(each).items() if count > 1)
        return cls(source, names, [known.get(name) for name in names], classes, twice)

    def label(self, where: object, number: int) -> int:
        """The label in id_train of the class that a number means.

        Raises:
            DataError: there is none, or it cannot be told which.
        """
        named = f"the lines of {self.source}" if self.source else "as in id_train"
        if number >= len(self.names):
            raise DataError(f"{where}: label {number}; allowed: 0 to {len(self.names) - 1}, {named}")
        label, name = self.labels[number], self.names[number]
        if label is None:
            unknown = f"label {number}, {name!r} in {self.source}, unknown to id_train"
            raise DataError(f"{where}: {unknown}; allowed: {few(self.classes)}{hint(name, self.classes)}")
        if name in self.doubtful:
            found = f"label {number}, {name!r}, which names two classes in {self.source} or id_train"
            allowed = "a name of one class, or all the names of id_train in its order"
            raise DataError(f"{where}: {found}; allowed: {allowed}")
        return label


def _nearest(name: str, place: Path, base: Path) -> Path | None:
    """What is of this name nearest to a split, be it a link to nowhere: in its folder, or above it up to the base."""
    above = [place, *place.parents]
    within = above[: above.index(base) + 1] if base in above else above[:3]
    return next((folder / name for folder in within if os.path.lexists(folder / name)), None)


def _listed(name: str, place: Path, naming: Naming, options: Options) -> Listed:
    """The pictures of a split's shards."""
    from metaft.data.pictures import Listed
    from metaft.data.shards import samples
    from metaft.progress import track

    paths, left_out = shards(place)
    group_key = options.group_key if judges(name) else None
    files, labels, groups = [], [], []
    for path in track(paths, f"indexing {name}", unit="shard"):
        found, others = samples(path, options.json_keys, group_key)
        left_out += others
        files += [sample.picture for sample in found]
        labels += [naming.label(sample.picture, sample.label) for sample in found]
        groups += [sample.group for sample in found]
    return Listed(name, place, Files(files), labels, left_out, groups=None if group_key is None else groups)


def shards(place: Path) -> tuple[list[Path], Counter[str]]:
    """The shards of a split in their order, and what lies in their folder beside them, by why it is left out.

    Raises:
        DataError: no shards, not all that are named or counted, or pictures of an unpacked one beside them.
    """
    if not place.is_dir():
        return _named(place), Counter()
    task = _nearest(TASK, place, place.parent)
    if task is not None and _text(task) in OTHER_TASKS:
        raise DataError(f"{task}: {_text(task)}; allowed: classification, with one label a picture")
    found, left_out = _sorted_out(place)
    if os.path.lexists(place / COUNT):  # be it a link to nowhere
        _refuse_miscounted(place / COUNT, found)
    if not found:
        inside = [inner for inner, path in folders(place).items() if any(path.glob(SHARD))]
        hint = f" but in {', '.join(inside)}" if inside else ""
        raise DataError(f"{place}: no shards there{hint}; allowed: {SHARDS}")
    return [place / name for name in in_order_of_stems(found)], left_out


def in_order_of_stems(names: Iterable[str]) -> list[str]:
    """Names of shards by their numbers where all are numbers, else by their letters."""
    by_stem = {re.sub(r"(?i)\.tar$", "", name): name for name in names}
    return [by_stem[stem] for stem in in_order(by_stem)]


def _sorted_out(folder: Path) -> tuple[list[str], Counter[str]]:
    """The shards in a folder, and the number of other entries by their kind."""
    from metaft.data.decode import kind, suffixes

    found: list[str] = []
    left_out: Counter[str] = Counter()
    for path in sorted(map(Path, entries(folder))):
        if is_hidden(path.name):
            left_out[HIDDEN] += 1
        elif path.name.lower().endswith(ARCHIVES):
            found.append(readable(path))
        elif path.suffix.lower() in suffixes() or path.suffix == ".cls":
            raise DataError(f"{path}: beside shards, as of one that was unpacked; allowed: shards alone (*.tar)")
        elif path.name not in (COUNT, NAMES, TEMPLATES, TASK):
            left_out["folder" if path.is_dir() else kind(path)] += 1
    return found, left_out


def _refuse_miscounted(count: Path, found: Sequence[str]) -> None:
    """Refuse shards that are not those that nshards.txt counts, 0.tar and so on."""
    text = _text(count)
    expected, known = whole(text), frozenset(found)
    if not expected:
        raise DataError(f"{count}: {text[:40]!r}; allowed: the number of shards, at least 1")
    gone = next((name for name in (f"{number}.tar" for number in range(expected)) if name not in known), None)
    if gone or len(known) > expected:
        more = known - {f"{number}.tar" for number in range(min(expected, len(known)))}
        wrong = f"{gone} is not there" if gone else f"{min(more)} is there too"
        said = f"{expected} shards, {len(found)} found: {wrong}"
        raise DataError(f"{count}: {said}; allowed: 0.tar to {expected - 1}.tar, all of them")


def _text(path: Path) -> str:
    try:
        return read_text(path).strip()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); allowed: a text in UTF-8") from error


def _named(place: Path) -> list[Path]:
    """The shards that a path with ranges names."""
    text = str(place)
    paths = [Path(each) for each in islice(expand(text), SHARDS_AT_MOST + 1)] if text.count("{") <= BRACES else []
    if not 0 < len(paths) <= SHARDS_AT_MOST:
        raise DataError(f"{place}: more than {SHARDS_AT_MOST:,} shards; allowed: {SHARDS}")
    gone = [path for path in paths if not path.is_file()]
    if gone and ".tar" not in place.suffixes:
        raise DataError(f"{missing(place)}; allowed: {SHARDS}")
    if gone:
        count = f"{len(gone)} of {len(paths)} shards are not there"
        raise DataError(f"{place}: {count}, the first: {gone[0]}; allowed: {SHARDS}")
    return paths


def expand(text: str) -> Iterator[str]:
    """The texts that a text with braces stands for, as in shells: {08..11} for numbers, {a,b} for words.

    >>> list(expand("{train,more}-{09..10}.tar"))
    ['train-09.tar', 'train-10.tar', 'more-09.tar', 'more-10.tar']
    """
    braces = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", text)
    if braces is None:
        yield text
        return
    first, last, words = braces.groups()
    for each in words.split(",") if words else _numbers(first, last):
        yield from expand(text[: braces.start()] + each + text[braces.end() :])


def _numbers(first: str, last: str) -> list[str]:
    """The numbers from one to another, as long as the first where that begins with 0; no more than shards can be."""
    low, high = sorted((int(first), int(last)))
    digits = len(first) if first.startswith("0") else 1
    return [f"{number:0{digits}}" for number in range(low, min(high, low + SHARDS_AT_MOST) + 1)]


def _folders_of_shards(place: Path) -> dict[str, Path]:
    """The folders of a split by name, where it holds these in place of shards."""
    if not place.is_dir() or any(place.glob(SHARD)) or os.path.lexists(place / COUNT):
        return {}
    return {name: path.absolute() for name, path in folders(place).items()}
