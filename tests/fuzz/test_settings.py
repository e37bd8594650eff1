"""Settings: files, key=value and mappings; what is valid can be written, read back, and made a space of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from metaft import config
from metaft.build.check import faults_of
from metaft.build.space import recipe, space
from metaft.config import Config
from metaft.config.read import from_mapping
from metaft.data import registry
from metaft.errors import ConfigError, Fault
from tests.fuzz.cases import FEWER, NASTY, SNIPPETS, end_of, fuzzed, mutated

DEFAULTS = config.flatten(config.load())
NAMES = (*("kd", "lr", "wd", "alpha", "ce", "ftp.kappa", "ce:ood_val", "hinge", "lr@head", "head"),)
NUMBERS = st.sampled_from((0, -1, 1, 2, 0.5, 1e-320, 1e-15, 1e12, 1e13, 1e308, 10**13, 2**63, -0.0)) | st.floats()
RANGES = st.lists(NUMBERS, min_size=2, max_size=2)
VALUES = st.one_of(
    *(
        NUMBERS,
        SNIPPETS,
        st.sampled_from(NAMES),
        st.booleans(),
        st.none(),
        st.lists(st.sampled_from(NAMES), max_size=3),
    ),
    *(st.dictionaries(st.sampled_from(NAMES), kind, max_size=3) for kind in (NUMBERS, RANGES)),
)
PAIRS = st.tuples(st.sampled_from([*DEFAULTS, *DEFAULTS, *Config.model_fields]) | SNIPPETS, VALUES)


def round_about() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


ODD = (
    *({1, 2}, b"x", 1j, object(), type, round_about(), (1, (2,)), range(3), Path("x"), np.int64(3), np.float32(0.1)),
    *(np.array(["kd"]), np.array([object()]), torch.tensor(2), torch.ones(2, requires_grad=True), 10**5000),
    *({1: 2}, {None: 1}, {("a",): 1}, {"\ud800": 1}, [[[]]], lambda: 1, float("nan"), *NASTY),
)


def partial(read: Callable[[], Config]) -> tuple[Config, Sequence[Fault]]:
    """Settings, and the faults of those that are left at their defaults."""
    try:
        return read(), ()
    except ConfigError as error:
        return error.partial, [*error.faults, *faults_of(error.partial)]


def checked(read: Callable[[], Config], folder: Path) -> None:
    """Read settings; where they have no fault, write them and make the space of their search."""
    cfg, faults = partial(read)
    assert all(str(fault).isprintable() for fault in faults)
    if faults or faults_of(cfg):
        return
    (folder / "c.yaml").write_text(config.dump(cfg), encoding="utf-8")
    assert repr(config.load(folder / "c.yaml")) == repr(cfg)
    made = end_of(
        lambda: space(cfg, groups=("head", "block.0.attn"), sources=("ood_val",) if cfg.trains_on_ood_val else ())
    )
    if made is None:
        return
    start = made.from_unit(recipe(cfg, made))
    assert all(d.low <= float(start[d.name]) <= d.high for d in made if hasattr(d, "low"))


@fuzzed(st.lists(PAIRS, max_size=4))
def test_overrides(folder: Path, pairs: list[tuple[str, Any]]) -> None:
    words = [f"{key}={value}" for key, value in pairs]
    checked(lambda: config.load(None, words), folder)


SEEDS = (
    "search: {mode: hypergrad, trials: 3, seconds: null}\ninner: {steps: 5, batch_size: 16}\nseed: 3\n",
    "data:\n  format: shapes\n  options: {style: photo, id_train: 100}\nobjective:\n  terms: [kd, l2init]\n",
    "data: {format: folder, root: pics, options: {ood_test: {a: b, 1: c}, more: {web: w}}}\nmodel: {name: ViT-B-32}\n",
    "objective:\n  bounds: {lr: [1e-6, 1e-2], kd: [0.1, 10]}\n  recipe: {kd: 1}\n  fixed: {ce: 1, wd: 0.1}\n",
    "finetune: {lr: 1e-4, knobs: {ftp: {kappa: 0.5}}}\nsearch: {mode: tpe, method: ftp}\nreport: {title: 2024-01-01}\n",
)


@fuzzed(mutated(SEEDS, SNIPPETS))
def test_files(folder: Path, text: str) -> None:
    path = folder / "in.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    checked(lambda: config.load(path), folder)


ODD_KEYS = st.sampled_from((1, None, ("a",), 2.5, b"x", "inner.", ".", "data.options.a.b", "seed.a"))


@fuzzed(
    st.dictionaries(st.sampled_from(list(DEFAULTS)) | ODD_KEYS, st.sampled_from(ODD) | VALUES, max_size=4), few=FEWER
)
def test_mappings(folder: Path, given: dict[Any, Any]) -> None:
    checked(lambda: from_mapping(given), folder)


@fuzzed(
    st.dictionaries(
        st.sampled_from(list(Config.model_fields)),
        st.dictionaries(SNIPPETS, st.sampled_from(ODD) | VALUES) | st.sampled_from(ODD),
        max_size=4,
    ),
    few=FEWER,
)
def test_groups_of_mappings(folder: Path, groups: dict[str, Any]) -> None:
    checked(lambda: from_mapping(groups), folder)


OPTIONS = sorted({name for form in registry.FORMATS.values() for name in form.model.model_fields})
OF_OPTIONS = st.sampled_from((*OPTIONS, "train", "a.csv", "photo", "iwildcam", "kd")) | SNIPPETS | NUMBERS
GIVEN = st.dictionaries(
    st.sampled_from(OPTIONS) | SNIPPETS,
    OF_OPTIONS | st.lists(OF_OPTIONS, max_size=3) | st.dictionaries(SNIPPETS, OF_OPTIONS, max_size=2),
    max_size=3,
)


@fuzzed(st.tuples(st.sampled_from(sorted(registry.FORMATS)), GIVEN), few=FEWER)
def test_options_of_formats(folder: Path, case: tuple[str, dict[str, Any]]) -> None:
    form, options = case
    checked(lambda: from_mapping({"data": {"format": form, "root": "pictures", "options": options}}), folder)
