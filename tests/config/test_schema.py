"""The sections: frozen, and no combination that cannot be."""

from __future__ import annotations

import pytest

from metaft import config
from metaft.errors import ConfigError


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.load().seed = 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["search.seconds=null", "search.step_equivalents=null"], "nothing ends the search"),
        (["objective.fixed={dcm: 1.0}"], "both name dcm"),
    ],
)
def test_impossible_combinations(overrides, words):
    with pytest.raises(ConfigError) as caught:
        config.load(None, overrides)
    assert any(words in str(fault) for fault in caught.value.faults)


HUGE = ("inner.steps", "inner.batch_size", "finetune.epochs", "finetune.batch_size", "search.trials", "search.folds")
MORE = ("search.workers", "search.outer_batch_size", "evaluation.bootstrap", "hypergrad.starts", "tpe.startup")


@pytest.mark.parametrize(
    "override",
    [
        *(f"{key}=10000000000000" for key in (*HUGE, *MORE)),
        *(
            "finetune.lr=1e308",
            "finetune.lr=1e-320",
            "finetune.weight_decay=1e308",
            "inner.eps=1e-320",
            "inner.stretch=1e308",
        ),
        *("inner.betas=[0.9, 1.5]", "inner.betas=[-0.1, 0.9]", "search.seconds=1e308", "hypergrad.clip=1e-320"),
    ],
)
def test_numbers_that_nothing_can_hold_say_what_can_be(override):
    with pytest.raises(ConfigError, match=r"allowed: (less|greater) than") as caught:
        config.load(None, [override])
    (fault,) = caught.value.faults
    assert fault.field.startswith(override.partition("=")[0])


@pytest.mark.parametrize(
    "override", ["finetune.lr=1e9", "inner.steps=100000", "finetune.batch_size=65536", "inner.eps=1e-12"]
)
def test_what_a_person_could_want_is_allowed(override):
    assert config.load(None, [override]) != config.load()


@pytest.mark.parametrize("field", ["terms", "per_group"])
def test_names_come_once(field):
    with pytest.raises(ConfigError, match=f"{field} names kd twice"):
        config.load(None, [f"objective.{field}=[kd, l2init, kd]"])
