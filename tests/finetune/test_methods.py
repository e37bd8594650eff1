"""Every registered method: it runs, does better in distribution, exports, and goes on after an interruption."""

from __future__ import annotations

from dataclasses import replace

import open_clip
import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.clip.export import export
from metaft.clip.predict import predict
from metaft.errors import ConfigError
from metaft.finetune.fits import Memory
from metaft.finetune.methods import METHODS
from metaft.metrics import accuracy
from tests.conftest import by_default
from tests.finetune.states import Keeper, same, with_finetune

NO_BETTER_IN_DISTRIBUTION = ("zero_shot", "dfr", "oracle")  # untrained, or trained on other images
MAY_STAY = ("wise_ft", "autoft_wise", "soup")  # may choose to stay near theta_0 by ood_val
BY_LOSS = ("prompt",)  # has two vectors for all classes: it fits better, but changes few predictions in twenty steps
FEW = ("zero_shot", "ft", "lora", "soup")  # of which the others are variations
UNINTERRUPTED = ("zero_shot", "linear_probe", "linear_probe_ood_val", "wise_probe")  # train nothing that takes steps


def test_only_the_oracle_and_rehearsal_see_more_than_a_search(work):
    for name, method in METHODS.items():
        seen = method.sees(work.splits)
        if name == "oracle":
            assert seen.id_train.name == "labelled_half"
        elif name == "rehearsal":
            assert replace(seen, more={}) == work.splits.search_data
            assert set(seen.more) == {"pretraining"}
        else:
            assert seen == work.splits.search_data


def on_id_train(work, model) -> tuple[float, float]:
    """Accuracy and loss."""
    split = work.splits.id_train
    logits = predict(model, split, 200)
    return accuracy(logits, split.labels), float(torch.nn.functional.cross_entropy(logits, split.labels))


@pytest.fixture(scope="module")
def before(work):
    return on_id_train(work, work.classifier)


@pytest.mark.parametrize("name", by_default(FEW, METHODS))
def test_does_better_in_distribution(work, fits, before, name):
    after = on_id_train(work, fits.model(name))
    if name in MAY_STAY:
        assert after[0] >= before[0]
    elif name in BY_LOSS:
        assert after[1] < before[1] - 0.005
    elif name not in NO_BETTER_IN_DISTRIBUTION:
        assert after[0] > before[0] + 0.01
    cost = fits(name).cost
    assert (cost.step_equivalents > 0) == (name != "zero_shot")
    assert cost.seconds > 0


@pytest.mark.parametrize("name", by_default(FEW, METHODS))
def test_exports(work, fits, name, tmp_path):
    model = fits.model(name)
    export(model, work.clip, work.splits.classes.names, tmp_path)
    opened, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    batch = work.splits.id_val.batch(torch.arange(8))
    with torch.no_grad():
        theirs = opened.eval().encode_image(batch.images, normalize=True)
        torch.testing.assert_close(theirs, model(batch.images).image_features, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", by_default(FEW, METHODS))
def test_goes_on_to_the_same_end(few, short, fits, name):
    """20 steps are 10, a file, and 10 more, bit for bit; a method of several trainings is interrupted in each."""
    keeper, shelf = Keeper(stop=True), Memory()
    interruptions = 0
    while True:
        again = fits_of(few, replace(short, keeper=keeper), shelf)
        try:
            fit = again(name)
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert (interruptions > 0) == (name not in UNINTERRUPTED)
    assert same(fit.model, fits.model(name))
    if interruptions:
        assert fit.cost.step_equivalents == pytest.approx(fits(name).cost.step_equivalents)


@pytest.mark.parametrize(
    "name", by_default(("ftp", "saft"), ["ftp", "spd", "digrap", "tpgm", "mixout", "gmixout", "saft"])
)
def test_exclusions_reach_every_projection(work, data, short, fits, name):
    context = replace(short, fitted=fits.model)
    with pytest.raises(ConfigError, match=r"finetune.exclude: 'nothing.\*' matches no parameter"):
        METHODS[name].fit(work.classifier, data, with_finetune(context, exclude=("nothing.*",)))
    model = METHODS[name].fit(work.classifier, data, with_finetune(context, exclude=("clip.*",)))
    assert not same(model, fits.model(name))
