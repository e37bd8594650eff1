"""Settings: numbers are numbers, and every fault is reported at once with the nearest valid name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from metaft import build, config
from metaft.errors import ConfigError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def problems(*overrides: str, path: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return {p.field: str(p) for p in caught.value.faults}


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "0.00001", "1.0e-05", ".00001"])
def test_numbers_are_numbers(text):
    assert config.load(None, [f"finetune.lr={text}"]).finetune.lr == 1e-5


def test_yaml_and_overrides_in_order(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("inner: {steps: 3, eps: 1e-4}\nseed: 5\n")
    cfg = config.load(path, ["inner.steps=7"])
    assert (cfg.inner.steps, cfg.inner.eps, cfg.seed) == (7, 1e-4, 5)


def test_dump_is_read_back(tmp_path):
    cfg = config.load(None, ["finetune.lr=1e-7", "objective.bounds={lr: [1e-9, 1e-3]}", "data.root=/x"])
    path = tmp_path / "c.yaml"
    path.write_text(config.dump(cfg))
    assert config.load(path) == cfg


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.load().seed = 3


def test_every_fault_at_once(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "seed: 1\nseed: 2\ninner: {stepps: 3, batch_size: true}\nfinetun: {lr: 3}\nfinetune: {lr: fast, epochs: 0}\n"
    )
    found = problems("search.mode=hypergrat", "lr=3", "x", path=path)
    assert "'inner.steps'" in found["inner.stepps"]
    assert "'finetune'" in found["finetun"]
    assert "'hypergrad'" in found["search.mode"]
    assert "key 'seed' again in line 2" in found[str(path)]
    assert {"inner.batch_size", "finetune.lr", "finetune.epochs", "lr", "x"} <= found.keys()
    assert len(found) == 9


def test_no_is_a_word_and_a_quoted_number_is_text():
    assert config.load(None, ["data.format=no"]).data.format == "no"
    assert "inner.steps" in problems("inner.steps='7'")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["search.seconds=null", "search.step_equivalents=null"], "nothing ends the search"),
        (["objective.fixed={dcm: 1.0}"], "both name dcm"),
    ],
)
def test_impossible_combinations(overrides, words):
    assert any(words in text for text in problems(*overrides).values())


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_broken_files(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        config.load(path)
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("override", "field", "hint"),
    [
        ("data.format=shape", "data.format", "shapes"),
        ("objective.terms=[dcm, l2int]", "objective.terms", "l2init"),
        ("objective.fixed={cee: 1.0}", "objective.fixed", "ce"),
        ("objective.bounds={hnge: [0.1, 1]}", "objective.bounds", "hinge"),
        ("search.outer_loss=ce_calibratd", "search.outer_loss", "ce_calibrated"),
        ("hypergrad.estimator=unrol", "hypergrad.estimator", "unroll"),
        ("hypergrad.storage=kep", "hypergrad.storage", "keep"),
        ("finetune.method=autoftt", "finetune.method", "autoft"),
        ("finetune.knobs={ftpp: {kappa: 1}}", "finetune.knobs", "ftp"),
        ("finetune.knobs={ftp: {kapa: 1}}", "finetune.knobs.ftp.kapa", "kappa"),
        ("search.method=ftpp", "search.method", "ftp"),
        ("evaluation.methods=[zeroshot]", "evaluation.methods", "zero_shot"),
        ("model.name=ViT-B-31", "model.name", "ViT-B-32"),
        ("data.options={colour_corelation: 0.1}", "data.options.colour_corelation", "colour_correlation"),
    ],
)
def test_names_are_checked_against_registries(override, field, hint):
    with pytest.raises(ConfigError) as caught:
        build.check(config.load(None, [override]))
    (problem,) = caught.value.faults
    assert (problem.field, problem.nearest) == (field, hint)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("finetune.knobs={ftp: {kappa: 2}}", "finetune.knobs.ftp.kappa: 2; allowed: 0.0 to 1.0"),
        ("finetune.knobs={soup: {kind: greed}}", "finetune.knobs.soup.kind: 'greed'; allowed: greedy, uniform"),
        ("objective.bounds={ftp.kappa: [0, 2]}", "objective.bounds.ftp.kappa: [0.0, 2.0]; allowed: low < high within"),
        ("objective.fixed={ce: 1, ftp.kappa: 3}", "kappa: 3.0; allowed: 0.0 to 1.0"),
        ("objective.recipe={ftp.speed: 3}", "speed: 3.0; allowed: 0.001 to 1.0"),
        ("objective.bounds={spd.strength: [0, 1]}", "unknown name 'spd.strength'"),
    ],
)
def test_knobs_are_checked(override, said):
    with pytest.raises(ConfigError) as caught:
        build.check(config.load(None, ["search.method=ftp", override]))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["objective.bounds={lr: [0, 1]}", "objective.bounds={wd: [1, 0]}", "data.format=folder", "device=cuda:99"],
)
def test_values_that_make_nothing(override):
    with pytest.raises(ConfigError):
        build.check(config.load(None, [override]))


def test_a_metric_without_gradient_is_for_all_solvers():
    for mode in ("hypergrad", "tpe"):
        build.check(config.load(None, [f"search.mode={mode}", "search.outer_loss=error"]))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_valid(path):
    extra = ["data.root=/pictures"] if "folder" in path.stem else []
    build.check(config.load(path, extra))


def test_all_faults_survive_the_way_between_processes():
    with pytest.raises(ConfigError) as caught:
        config.load(None, ["inner.stepps=3", "seed=x"])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.faults, again.partial, str(again)) == (
        caught.value.faults,
        caught.value.partial,
        str(caught.value),
    )


@pytest.mark.parametrize("other", ["search.mode=tpe", "hypergrad.regime=online"])
def test_a_scout_goes_ahead_of_restarts_alone(other):
    with pytest.raises(ConfigError, match=r"search\.init: 'tpe' with"):
        build.check(config.load(None, ["search.mode=hypergrad", "search.init=tpe", other]))
