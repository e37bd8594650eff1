"""Every registered method: it runs, does better in distribution, exports, and goes on after an interruption."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from functools import partial

import open_clip
import pytest
import torch

from metaft import build
from metaft.clip.export import export
from metaft.clip.predict import predict
from metaft.errors import CheckpointError, ConfigError
from metaft.finetune.fits import Fits, Memory
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.metrics import accuracy
from metaft.objective import Objective

NO_BETTER_IN_DISTRIBUTION = ("zero_shot", "dfr", "oracle")  # untrained, or trained on other images
MAY_STAY = ("wise_ft", "autoft_wise", "soup")  # may choose to stay near theta_0 by ood_val


class Keeper:
    """Keeps states as files would; stops a training like Ctrl-C after its first check."""

    def __init__(self, stop: bool) -> None:
        self.states: dict[str, bytes] = {}
        self._stop = stop

    def load(self, name):
        if name not in self.states:
            return None
        return torch.load(io.BytesIO(self.states[name]), weights_only=True)

    def save(self, name, state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.states[name] = buffer.getvalue()
        if self._stop and state["step"] == 10:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def settings(work):
    learned = Objective({"ce": 1.0, "kd": 0.3, "l2init": 0.01}, 1e-3, 0.1, method="spd", knobs={"strength": 0.5})
    small = {"lora": {"rank": 4}, "soup": {"members": 2}, "tpgm": {"iterations": 10}}
    settings = build.fit_settings(work, learned)
    return replace(settings, steps=20, checks=2, options=replace(settings.options, knobs=small))


@pytest.fixture(scope="module")
def fits(work, settings):
    return Fits(partial(build.fit, work), settings)


def equal(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_does_better_in_distribution(work, fits, name):
    def score(model):
        split = work.splits.id_train
        return accuracy(predict(model, split, 200), split.labels)

    before, after = score(work.classifier), score(fits.model(name))
    if name in MAY_STAY:
        assert after >= before
    elif name not in NO_BETTER_IN_DISTRIBUTION:
        assert after > before + 0.01
    _, cost = fits(name)
    assert (cost.step_equivalents > 0) == (name != "zero_shot")
    assert cost.seconds > 0


@pytest.mark.parametrize("name", METHODS)
def test_exports(work, fits, name, tmp_path):
    model = fits.model(name)
    export(model, work.clip, work.splits.classes.names, tmp_path)
    opened, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    batch = work.splits.id_val.batch(torch.arange(8))
    with torch.no_grad():
        theirs = opened.eval().encode_image(batch.images, normalize=True)
        torch.testing.assert_close(theirs, model(batch.images).image_features, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_goes_on_to_the_same_end(work, settings, fits, name):
    """20 steps are 10, a file, and 10 more, bit for bit; a method of several trainings is interrupted in each."""
    keeper, shelf = Keeper(stop=True), Memory()
    interruptions = 0
    while True:
        again = Fits(partial(build.fit, work), replace(settings, keeper=keeper), shelf)
        try:
            model, cost = again(name)
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert (interruptions > 0) == (name not in ("zero_shot", "linear_probe"))
    assert equal(model, fits.model(name))
    if interruptions:
        assert cost.step_equivalents == pytest.approx(fits(name)[1].step_equivalents)


@pytest.mark.parametrize("changes", [{"on": "ood_val"}, {"when": "training"}, {"norm": "mars"}], ids=str)
def test_tpgm_in_its_kinds(work, settings, fits, changes):
    own = {"tpgm": {"iterations": 10, **changes}}
    varied = replace(settings, options=replace(settings.options, knobs=own), fitted=fits.model)
    model = METHODS["tpgm"].fit(build.fresh(work), work.splits.search_data, varied)
    assert not equal(model, fits.model("tpgm"))
    distance = build.drift(work)(model)["weights"]["all"]
    assert 0 < distance < build.drift(work)(fits.model("ft"))["weights"]["all"]


def test_tpgm_in_training_goes_on_too(work, settings):
    own = replace(settings, options=replace(settings.options, knobs={"tpgm": {"when": "training"}}))
    whole = METHODS["tpgm"].fit(build.fresh(work), work.splits.search_data, own)
    keeper = Keeper(stop=True)
    with pytest.raises(KeyboardInterrupt):
        METHODS["tpgm"].fit(build.fresh(work), work.splits.search_data, replace(own, keeper=keeper))
    keeper._stop = False
    assert equal(METHODS["tpgm"].fit(build.fresh(work), work.splits.search_data, replace(own, keeper=keeper)), whole)


def test_a_state_of_another_training_is_refused(work, settings):
    keeper = Keeper(stop=False)
    data, own = work.splits.search_data, replace(settings, keeper=keeper)
    train(work.classifier, settings.plain, data, own, "ft")
    with pytest.raises(
        CheckpointError, match="ft: the training kept under this name differs in method; allowed: its own"
    ):
        train(work.classifier, replace(settings.plain, method="ftp"), data, own, "ft")


@pytest.mark.parametrize("name", ["ftp", "spd", "tpgm"])
def test_exclusions_reach_every_projection(work, settings, fits, name):
    options = replace(settings.options, exclude=("nothing.*",))
    wrong = replace(settings, options=options, fitted=fits.model)
    with pytest.raises(ConfigError, match=r"finetune.exclude: 'nothing.\*' matches no parameter"):
        METHODS[name].fit(build.fresh(work), work.splits.search_data, wrong)
    right = replace(wrong, options=replace(options, exclude=("clip.*",)))
    model = METHODS[name].fit(build.fresh(work), work.splits.search_data, right)
    assert not equal(model, fits.model(name))


def test_lora_targets_not_found(work, settings):
    wrong = replace(settings, options=replace(settings.options, lora_targets=("*attention*",)))
    with pytest.raises(ConfigError, match=r"finetune.lora_targets: '\*attention\*' matches no matrix"):
        METHODS["lora"].fit(build.fresh(work), work.splits.search_data, wrong)


def test_lora_moves_attention_by_its_rank_and_the_head(work, fits):
    model = fits.model("lora")
    for name, p in model.named_parameters():
        change = (p - work.classifier.get_parameter(name)).detach().double()
        if "attn.in_proj_weight" in name or "attn.out_proj.weight" in name:
            if "visual" in name:
                singular = torch.linalg.svdvals(change)
                assert singular[3] > 1e-5
                assert singular[4] < 1e-4 * singular[0]
        elif not name.startswith("head."):
            assert not change.any(), name


@pytest.mark.parametrize("absent", ["tokens", "tower"])
def test_flyp_needs_a_text_tower(work, settings, absent):
    model, own = build.fresh(work), settings
    if absent == "tokens":
        own = replace(settings, tokens=None)
    else:
        model.clip = torch.nn.Module()
    with pytest.raises(ConfigError, match="'flyp' trains on captions, and this model has no text tower; allowed:"):
        METHODS["flyp"].fit(model, work.splits.search_data, own)


def test_flyps_head_is_the_zero_shot_head_of_its_text_tower(work, fits):
    from metaft.clip.classifier import zero_shot

    model = fits.model("flyp")
    clip = replace(work.clip, model=copy.deepcopy(model.clip))
    rebuilt = zero_shot(clip, work.splits.classes)
    torch.testing.assert_close(model.head.weight, rebuilt.head.weight, rtol=1e-4, atol=1e-4)


def test_soups(work, settings, fits):
    from metaft.finetune.methods.soup import greedy, mean
    from metaft.finetune.validation import validate

    data, models = work.splits.search_data, [fits.model("ft"), fits.model("kd"), fits.model("ema")]
    average = mean(models)
    expected = (models[0].head.weight + models[1].head.weight + models[2].head.weight) / 3
    torch.testing.assert_close(average.head.weight, expected)
    scores = [validate(m, data, settings) for m in models]
    assert validate(greedy(models, data, settings), data, settings) >= max(scores)
    uniform = replace(settings.options, knobs={"soup": {"kind": "uniform", "members": 2}})
    model = METHODS["soup"].fit(build.fresh(work), data, replace(settings, options=uniform, fitted=fits.model))
    assert not equal(model, fits.model("ft"))


def test_lp_ft_starts_from_the_probe(work, settings, fits):
    own = replace(settings, steps=1, checks=1, plain=replace(settings.plain, lr=1e-9), fitted=fits.model)
    model = METHODS["lp_ft"].fit(build.fresh(work), work.splits.search_data, own)
    torch.testing.assert_close(model.head.weight, fits.model("linear_probe").head.weight, rtol=0, atol=1e-6)


def test_linear_probe_chooses_c_on_validation(work, settings):
    events = []
    data = work.splits.search_data
    METHODS["linear_probe"].fit(build.fresh(work), data, replace(settings, log=events.append))
    (event,) = events
    assert event["inverse_penalty"] in (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
