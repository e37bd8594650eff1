"""Loading, classifying and writing down, against open_clip itself."""

from __future__ import annotations

import copy
import runpy
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from metaft.clip.classifier import Classifier, group_of, train_only, zero_shot
from metaft.clip.embedded import MID, TOY, checkpoint
from metaft.clip.export import export, restore, save
from metaft.clip.load import RANDOM, load
from metaft.data import SUITE_VERSION
from metaft.data.types import Classes
from metaft.errors import CheckpointError, ConfigError


def test_toy_has_weights_and_is_small():
    assert checkpoint(TOY, 0).stat().st_size < 8e6
    assert TOY in open_clip.list_models()


def test_zero_shot_is_open_clips(work):
    images = work.splits.ood_val.batch(torch.arange(32)).images
    theirs = open_clip.create_model(TOY, pretrained=str(checkpoint(TOY, 0))).eval()
    weights = open_clip.build_zero_shot_classifier(
        theirs, open_clip.get_tokenizer(TOY), work.splits.classes.names, work.splits.classes.templates
    )
    with torch.no_grad():
        expected = theirs.logit_scale.exp() * theirs.encode_image(images, normalize=True) @ weights
        torch.testing.assert_close(work.classifier(images).logits, expected, rtol=1e-5, atol=1e-5)


def test_one_forward_gives_everything(work):
    batch = work.splits.id_train.batch(torch.arange(4))
    out = work.classifier(batch.images, work.tokens[batch.labels, 0])
    assert out.logits.shape == (4, 10)
    assert out.image_features.shape == out.text_features.shape == (4, 64)
    torch.testing.assert_close(out.image_features.norm(dim=1), torch.ones(4))
    assert work.classifier(batch.images).text_features is None
    assert out.logit_scale.item() == pytest.approx(work.clip.model.logit_scale.exp().item())


def test_export_opens_with_open_clip_and_gives_the_same_logits(work, tmp_path):
    tuned = copy.deepcopy(work.classifier)
    with torch.no_grad():
        for p in tuned.parameters():
            p.add_(0.01 * torch.randn_like(p))
    export(tuned, work.clip, work.splits.classes.names, tmp_path / "model")
    images = work.splits.id_train.batch(torch.arange(16)).images
    head = load_file(tmp_path / "model" / "head.safetensors")
    file = str(tmp_path / "model" / "open_clip_model.safetensors")
    scope = runpy.run_path(str(tmp_path / "model" / "load.py"))
    with torch.no_grad():
        expected = tuned(images).logits
        for model in (open_clip.create_model(TOY, pretrained=file).eval(), scope["model"]):
            logits = model.encode_image(images, normalize=True) @ head["weight"].T + head["bias"]
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(scope["logits"](images), expected, rtol=0, atol=1e-5)
    again = load(f"local-dir:{tmp_path / 'model'}", None)
    assert torch.equal(again.model.visual.proj, tuned.clip.visual.proj)
    assert again.view.mean == work.clip.view.mean
    assert scope["classnames"] == list(work.splits.classes.names)


def test_checkpoints_go_there_and_back(work, tmp_path):
    save(work.classifier.state_dict(), tmp_path / "c.safetensors")
    other = copy.deepcopy(work.classifier)
    with torch.no_grad():
        other.head.weight.zero_()
    assert torch.equal(restore(other, tmp_path / "c.safetensors").head.weight, work.classifier.head.weight)
    with pytest.raises(CheckpointError, match="allowed"):
        restore(other, tmp_path / "absent.safetensors")


def test_any_architecture_from_a_local_file(tmp_path):
    model = open_clip.create_model("RN50", pretrained=None)
    path = tmp_path / "rn50.pt"
    torch.save(model.state_dict(), path)
    clip = load("RN50", str(path))
    assert torch.equal(clip.model.visual.conv1.weight, model.visual.conv1.weight)
    assert not any(getattr(m, "inplace", False) for m in clip.model.modules())
    classifier = zero_shot(clip, Classes(("cat", "dog"), ("a photo of a {}.",)))
    assert classifier(torch.zeros(1, 3, 224, 224)).logits.shape == (1, 2)
    assert set(train_only(classifier, text=False, freeze=()).groups()) == {"stem", "head"}


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        ("toy-clp", None, "nearest: 'toy-clip'"),
        ("ViT-B-32", None, "nothing given"),
        ("ViT-B-32", "laion3b", "laion2b_s34b_b79k"),
        ("toy-clip", "/no/such/file.pt", "allowed: an existing file"),
    ],
)
def test_what_cannot_be_loaded(name, pretrained, words):
    with pytest.raises(CheckpointError, match=r"allowed|nearest") as caught:
        load(name, pretrained)
    assert words in str(caught.value)


def test_a_checkpoint_of_another_architecture(tmp_path):
    path = tmp_path / "wide.safetensors"
    state = {k: torch.zeros([2 * s for s in t.shape]) for k, t in load_file(checkpoint(TOY, 0)).items()}
    save_file(state, path)
    with pytest.raises(CheckpointError, match="weights are of another architecture"):
        load(TOY, str(path))
    path.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load(TOY, str(path))


def test_random_weights_on_request():
    assert load(TOY, RANDOM).view.size == 32


def test_the_larger_embedded_model():
    clip = load(MID, RANDOM)
    width, layers = clip.config["vision_cfg"]["width"], clip.config["vision_cfg"]["layers"]
    assert (clip.view.size, width, layers) == (64, 384, 8)
    images = clip.view.normalise(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert clip.model(images, clip.tokenizer(["a bolt.", "a ring."]))["image_features"].shape == (2, 256)


def test_pretrainings_by_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"seed-7 of toy-clip is not at .*benchmarks/pretrain.py .*--seed 7"):
        load(TOY, "seed-7")
    with pytest.raises(CheckpointError, match="seed-0 of mid-clip is not at"):
        load(MID, None)
    save(load(TOY, RANDOM).model.state_dict(), checkpoint(TOY, 7))
    (made,) = tmp_path.iterdir()
    assert f"suites-{SUITE_VERSION}-" in made.name, "no weights of another version are found"
    seven, shipped, named = (load(TOY, p).model.state_dict() for p in ("seed-7", "seed-0", None))
    assert not torch.equal(seven["visual.proj"], shipped["visual.proj"])
    assert torch.equal(named["visual.proj"], shipped["visual.proj"])


def test_what_is_trained(work):
    model: Classifier = train_only(copy.deepcopy(work.classifier), text=False, freeze=())
    assert set(model.groups()) == {"stem", "head", *(f"block.{i}.{p}" for i in range(4) for p in ("attn", "mlp"))}
    with_text = train_only(model, text=True, freeze=("*token_embedding*",)).trained()
    assert "clip.logit_scale" in with_text
    assert "clip.token_embedding.weight" not in with_text
    assert sum(len(names) for names in model.groups().values()) == len(with_text)
    with pytest.raises(ConfigError, match="'\\*embeding\\*' matches no parameter"):
        train_only(model, text=True, freeze=("*embeding*",))


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("clip.visual.conv1.weight", "stem"),
        ("clip.visual.transformer.resblocks.11.attn.in_proj_weight", "block.11.attn"),
        ("clip.visual.transformer.resblocks.0.ln_1.bias", "block.0.attn"),
        ("clip.visual.transformer.resblocks.3.mlp.c_fc.weight", "block.3.mlp"),
        ("clip.visual.trunk.blocks.2.norm2.weight", "block.2.mlp"),
        ("clip.visual.proj", "head"),
        ("head.bias", "head"),
        ("clip.transformer.resblocks.0.attn.in_proj_weight", "text"),
        ("clip.logit_scale", "text"),
    ],
)
def test_groups(name, group):
    assert group_of(name) == group


@pytest.mark.full
@pytest.mark.parametrize("name", [TOY, MID])
def test_pretraining_leaves_weights_that_load(name, tmp_path):
    out = tmp_path / "weights.safetensors"
    command = [sys.executable, "benchmarks/pretrain.py", "--model", name, "--steps", "2", "--out", str(out)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    assert load(name, str(out)).view.size == {TOY: 32, MID: 64}[name]
