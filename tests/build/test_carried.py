"""An objective goes from the model that it was found on to another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import metaft
from metaft import config
from metaft.build.carried import carried, given
from metaft.clip.classifier import Classifier
from metaft.clip.load import load
from metaft.config.read import dump
from metaft.errors import ConfigError
from metaft.objective.file import load_objective
from metaft.objective.objective import Objective
from metaft.run import main
from tests.conftest import SMALL

GROUPS = {
    "stem": {"lr": 1e-3},
    **{f"block.{i}.attn": {"lr": 1e-3 * (i + 1), "terms": {"l2init": float(i)}} for i in range(4)},
    "head": {"lr": 4e-3, "wd": 0.5},
}
FOUND = Objective({"ce": 1.0, "kd": 0.2}, lr=2e-3, wd=0.1, groups=GROUPS, alpha=0.7)


@pytest.fixture
def run(tmp_path):
    """The folder of a run on the toy CLIP, four blocks deep, that has searched rates and penalties by group."""
    cfg = config.load(None, [*SMALL, "objective.per_group=[lr, wd, l2init]", "finetune.lr=2e-3"])
    FOUND.save(tmp_path / "run" / "objective.yaml")
    (tmp_path / "run" / "config.yaml").write_text(dump(cfg))
    return tmp_path / "run"


def test_learning_rates_go_with_the_recipe_and_weights_stay():
    later = Objective({"ce": 1.0}, lr=1e-2, wd=0.0, groups={"head": {"wd": 0.3}})
    larger = carried(Objective({"ce": 1.0, "kd": 0.2}, 2e-3, 0.1, GROUPS, schedule=((0.5, later),)), 0.01, 4)
    assert (larger.lr, larger.wd, dict(larger.terms)) == (pytest.approx(2e-5), 0.1, {"ce": 1.0, "kd": 0.2})
    assert larger.groups["head"] == {"lr": pytest.approx(4e-5), "wd": 0.5}
    assert larger.groups["block.3.attn"] == {"lr": pytest.approx(4e-5), "terms": {"l2init": 3.0}}
    ((start, stage),) = larger.schedule
    assert (start, stage.lr, stage.groups) == (0.5, pytest.approx(1e-4), {"head": {"wd": 0.3}})


@pytest.mark.parametrize(
    ("depth", "sources"), [(8, [0, 0, 1, 1, 2, 2, 3, 3]), (12, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]), (2, [0, 2])]
)
def test_blocks_go_by_their_share_of_the_depth(depth, sources):
    groups = carried(FOUND, 1.0, depth).groups
    assert [groups[f"block.{i}.attn"]["terms"]["l2init"] for i in range(depth)] == sources
    assert set(groups) == {"stem", "head", *(f"block.{i}.attn" for i in range(depth))}


def test_a_run_on_its_own_model_is_replayed_as_it_is(run, work):
    cfg = config.load(None, [*SMALL, "finetune.lr=2e-3"])
    assert given(run).to(replace(work, cfg=cfg)) == load_objective(run / "objective.yaml")


def test_an_objective_of_the_toy_suits_a_deeper_model(run, work, capsys):
    """Twice as deep, at a tenth of the recipe's learning rate."""
    clip = load("mid-clip", "random")
    deeper = Classifier(clip.model, torch.zeros(10, 256), torch.zeros(10))
    cfg = config.load(None, [*SMALL, "model.name=mid-clip", "model.pretrained=random", "finetune.lr=2e-4"])
    assert given(run).to(replace(work, cfg=cfg, classifier=deeper)) == carried(FOUND, 0.1, 8)
    said = "objective: learning rates times 0.1, 4 blocks to 8 (toy-clip to mid-clip)"
    assert said in capsys.readouterr().err


@pytest.mark.full
def test_an_objective_of_the_toy_trains_a_deeper_model_in_one_command(run, tmp_path):
    larger = ("model.name=mid-clip", "model.pretrained=random", "finetune.lr=2e-4", "evaluation.methods=[autoft]")
    sizes = (*SMALL, "finetune.batch_size=8", "data.options.id_train=16")
    assert main(["--objective", str(run), "--out", str(tmp_path / "larger"), *sizes, *larger]) == 0
    assert load_objective(tmp_path / "larger" / "objective.yaml") == carried(FOUND, 0.1, 8)


def test_what_is_no_run_is_named(run, tmp_path):
    (run / "objective.yaml").unlink()
    with pytest.raises(ConfigError, match=r"--objective: .*run, whose search has not ended; allowed: an objective"):
        given(run)
    with pytest.raises(ConfigError, match="holds no run with an objective"):
        metaft.finetune({"seed": 0}, objective=tmp_path)
