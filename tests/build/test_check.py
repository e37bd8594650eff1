"""Names in the settings against the registries, before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaft import build, config
from metaft.build.check import faults_of
from metaft.errors import ConfigError

CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize(
    ("override", "field", "hint"),
    [
        ("data.format=shape", "data.format", "shapes"),
        ("objective.terms=[dcm, l2int]", "objective.terms", "l2init"),
        ("objective.fixed={cee: 1.0}", "objective.fixed", "ce"),
        ("objective.bounds={hnge: [0.1, 1]}", "objective.bounds", "hinge"),
        ("search.outer_loss=ce_calibratd", "search.outer_loss", "ce_calibrated"),
        ("hypergrad.estimator=unrol", "hypergrad.estimator", "unroll"),
        ("hypergrad.linear_solver=neuman", "hypergrad.linear_solver", "neumann"),
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
    cfg = config.load(None, [override])
    with pytest.raises(ConfigError) as caught:
        build.check(cfg)
    (fault,) = caught.value.faults
    assert (fault.field, fault.nearest) == (field, hint)
    assert faults_of(cfg) == [fault]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("finetune.knobs={ftp: {kappa: 2}}", "finetune.knobs.ftp.kappa: 2; allowed: 0.0 to 1.0"),
        ("finetune.knobs={soup: {kind: greed}}", "finetune.knobs.soup.kind: 'greed'; allowed: greedy, uniform"),
        ("finetune.knobs={wise_ft: {alpha: 1.5}}", "wise_ft.alpha: 1.5; allowed: 0.0 to 1.0, or null"),
        ("finetune.knobs={autoft_wise: {alpha: half}}", "autoft_wise.alpha: 'half'; allowed: 0.0 to 1.0, or null"),
        ("finetune.knobs={dfr: {inverse_penalty: 0}}", "dfr.inverse_penalty: 0; allowed: 1e-06 to"),
        ("finetune.knobs={linear_probe: {inverse_penalty: -1}}", "linear_probe.inverse_penalty: -1; allowed: 1e-06 to"),
        ("finetune.knobs={linear_probe_ood_val: {weight: 0}}", "linear_probe_ood_val.weight: 0; allowed: 0.01 to"),
        ("finetune.knobs={ft_ood_val: {weight: 1000}}", "ft_ood_val.weight: 1000; allowed: 0.01 to 100.0, or null"),
        ("finetune.knobs={ft_ood_val: {lr_factor: 0}}", "ft_ood_val.lr_factor: 0; allowed: 0.01 to 10.0, or null"),
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
    ["objective.bounds={lr: [0, 1]}", "objective.bounds={wd: [1, 0]}", "data.format=folder", "device=cuda:x"],
)
def test_values_that_make_nothing(override):
    with pytest.raises(ConfigError):
        build.check(config.load(None, [override]))


def test_the_model_handed_back_may_be_any_or_chosen():
    for name in ("auto", "autoft", "zero_shot"):
        build.check(config.load(None, [f"finetune.method={name}"]))
    with pytest.raises(ConfigError, match=r"finetune\.noise"):
        config.load(None, ["finetune.noise=-1"])


def test_a_metric_without_gradient_is_for_all_solvers():
    for mode in ("hypergrad", "tpe"):
        build.check(config.load(None, [f"search.mode={mode}", "search.outer_loss=error"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["inner.accumulate=4"],
            "inner.accumulate: 4, with flyp, which compares the images of a batch; allowed: 1, or",
        ),
        (["inner.accumulate=4", "objective.terms=[kd]", "objective.fixed={ce: 1, flyp: 2}"], "4, with flyp, which"),
        (["inner.accumulate=65", "objective.terms=[kd]"], "inner.accumulate: 65; allowed: 1 to inner.batch_size, 32."),
        (["hypergrad.estimator=auto", "hypergrad.spacing=0.01"], "0.01, with estimator auto, which goes by errors"),
        (["hypergrad.spacing=1e-8"], "hypergrad.spacing: 1e-08, which rounds to no difference; allowed: 1e-07 to 0.3."),
        (["hypergrad.estimator=implicit", "objective.fixed={ce: 1, lr: 1e-3, wd: 0, alpha: 0.5}"], "fixed.alpha: less"),
    ],
)
def test_what_would_be_another_gradient_is_refused(words, said):
    with pytest.raises(ConfigError) as caught:
        build.check(config.load(None, ["search.mode=hypergrad", *words]))
    assert said in str(caught.value)
    assert len(caught.value.faults) == 1


def test_parts_of_a_loss_that_compares_nothing_are_allowed():
    for words in (["objective.terms=[kd]"], ["objective.terms=[kd]", "objective.fixed={ce: 1, flyp: 0}"]):
        build.check(config.load(None, ["search.mode=hypergrad", "inner.accumulate=4", *words]))
    with pytest.raises(ConfigError, match=r"hypergrad\.spacing"):
        config.load(None, ["hypergrad.spacing=0.5"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_valid(path):
    extra = ["data.root=/pictures"] if "folder" in path.stem else []
    build.check(config.load(path, extra))


@pytest.mark.parametrize("other", ["search.mode=tpe", "hypergrad.regime=online"])
def test_a_scout_goes_ahead_of_restarts_alone(other):
    with pytest.raises(ConfigError, match=r"search\.init: 'tpe' with"):
        build.check(config.load(None, ["search.mode=hypergrad", "search.init=tpe", other]))


@pytest.mark.parametrize("only_judges", ["search.use_ood_labels=judge", "hypergrad.regime=online"])
@pytest.mark.parametrize("asks", ["objective.head=linear_probe_ood_val", "objective.fixed={ce: 1, ce:ood_val: 1}"])
def test_what_only_judges_is_not_asked_to_train(only_judges, asks):
    """A head, or a source, that is fitted on ood_val is no head of a search that ood_val judges whole."""
    build.check(config.load(None, [asks]))
    with pytest.raises(ConfigError, match=r"objective\.(head: 'linear_probe_ood_val', which trains on|fixed: unknown)"):
        build.check(config.load(None, [asks, only_judges]))


@pytest.mark.parametrize("fixed", ["{ce: 0}", "{lr: 1e-3}", "{ce: 0, wd: 0.1}"])
def test_a_search_of_no_loss_is_refused(fixed):
    words = ["search.mode=tpe", "objective.terms=[]", f"objective.fixed={fixed}"]
    assert faults_of(config.load(None, words)) == [], "ood_val trains"
    for method in ("null", "ftp"):
        alone = [*words, "search.use_ood_labels=judge", f"search.method={method}"]
        (fault,) = faults_of(config.load(None, alone))
        assert (
            str(fault)
            == "objective.terms: none, and nothing fixed has a weight; allowed: a term, or one fixed above 0."
        )
    assert faults_of(config.load(None, [*words, "search.use_ood_labels=judge", "objective.fixed={ce: 2}"])) == []


def test_knobs_that_would_not_move_are_not_searched():
    """An online search steers one training, whose hook is made once."""
    words = ["search.mode=hypergrad", "hypergrad.regime=online", "search.method=ftp"]
    (fault,) = faults_of(config.load(None, words))
    assert fault.field == "search.method"
    assert "regime restart, or ftp.kappa, ftp.speed under objective.fixed" in fault.allowed
    assert faults_of(config.load(None, [*words, "objective.fixed={ce: 1, ftp.kappa: 1, ftp.speed: 0.1}"])) == []


def test_weights_of_given_sources_are_no_unknown_names():
    cfg = config.load(None, ["objective.bounds={ce:extra: [0.1, 1]}"])
    assert [fault.field for fault in faults_of(cfg)] == ["objective.bounds"]
    assert faults_of(cfg, ["extra"]) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "objective.bounds={kd: [1e-320, 1e308]}",
            "objective.bounds.kd: [1e-320, 1e+308]; allowed: 0 <= low < high, 0 to",
        ),
        ("objective.bounds={lr: [1e-320, 1]}", "(log scale), 0, or 1e-15 to 1e+30"),
        ("objective.bounds={alpha: [0, 2]}", "objective.bounds.alpha: [0.0, 2.0]; allowed: 0 <= low < high, 0 to 1"),
        ("objective.fixed={ce: 1e308}", "objective.fixed.ce: 1e+308; allowed: 0 to 1e+30"),
        ("objective.fixed={ce: -1}", "objective.fixed.ce: -1.0; allowed: 0 to 1e+30"),
        ("objective.recipe={lr: 1e-300}", "objective.recipe.lr: 1e-300; allowed: 0, or 1e-15 to 1e+30"),
        ("data.options={id_train: 10000000000000}", "less than or equal to 1000000"),
        *(
            (f"device={name}", f"device: '{name}'")
            for name in ("meta", "cuda:9999999999", "cuda:\u0663", "privateuseone")
        ),
    ],
)
def test_numbers_and_devices_that_cannot_be_used(override, said):
    with pytest.raises(ConfigError) as caught:
        build.check(config.load(None, [override]))
    assert said in str(caught.value)


def test_many_unknown_names_are_told_at_once():
    cfg = config.load(None, [f"objective.fixed={{ce: 1, {', '.join(f'k{i}: 1' for i in range(5000))}}}"])
    assert len(faults_of(cfg)) == 20
