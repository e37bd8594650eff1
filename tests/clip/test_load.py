"""Loading through open_clip, and what cannot be loaded."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from metaft.clip import load as loading
from metaft.clip.classifier import grouped, trainable, zero_shot
from metaft.clip.embedded import checkpoint
from metaft.clip.load import RANDOM, image_view, load
from metaft.clip.names import TOY
from metaft.data.types import Classes
from metaft.errors import CheckpointError
from tests.clip.architectures import added

SMALL_RESNET = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 4, "patch_size": None, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.mark.parametrize(("name", "side"), [("small-resnet", 32), pytest.param("RN50", 224, marks=pytest.mark.full)])
def test_any_architecture_from_a_local_file(name, side, tmp_path):
    with added("small-resnet", SMALL_RESNET, tmp_path):
        loads_from_a_file(name, side, tmp_path / "resnet.pt")


def loads_from_a_file(name, side, path):
    model = open_clip.create_model(name, pretrained=None)
    torch.save(model.state_dict(), path)
    clip = load(name, str(path))
    assert torch.equal(clip.model.visual.conv1.weight, model.visual.conv1.weight)
    assert not any(getattr(m, "inplace", False) for m in clip.model.modules())
    classifier = zero_shot(clip, Classes(("cat", "dog"), ("a photo of a {}.",)))
    assert classifier(torch.zeros(1, 3, side, side)).logits.shape == (1, 2)
    assert any(isinstance(m, torch.nn.ReLU) for m in clip.model.modules())
    assert set(grouped(trainable(classifier, text=False, freeze=()))) == {"stem", "head"}


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


def test_random_weights_are_the_same_in_every_process():
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        found.append(load(TOY, "random").model.state_dict())
        assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["visual.proj"], load(TOY, None).model.visual.proj)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(1, 1000), (3, 500), (901, 17), (40, 900), (16, 800), (60, 61)])
def test_of_a_long_picture_the_middle_alone_is_made(monkeypatch, size, interpolation):
    """Bit for bit what resizing all of it and cropping gives."""
    pixels = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    colours = {"mode": "RGB", "mean": (0.5,) * 3, "std": (0.25,) * 3, "fill_color": 0}
    view = image_view({"size": (16, 16), **colours, "interpolation": interpolation, "resize_mode": "shortest"})
    for image in (Image.fromarray(pixels), Image.fromarray(pixels.swapaxes(0, 1).copy())):
        whole = view.transform(image)
        with monkeypatch.context() as patched:
            patched.setattr(loading, "LARGE", 0)
            assert torch.equal(view.transform(image), whole)
    assert view.transform(Image.new("RGB", (1, 10_000_000), "red")).unique().tolist() == [0, 255]
