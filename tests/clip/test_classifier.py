"""The classifier beside open_clip's own zero-shot one; groups, and what trains."""

from __future__ import annotations

import copy
from dataclasses import replace

import open_clip
import pytest
import torch

from metaft.clip.classifier import (
    caption_tokens,
    group_of,
    grouped,
    holding,
    picked_parameters,
    trainable,
    zero_shot,
)
from metaft.clip.embedded import checkpoint
from metaft.clip.names import TOY
from metaft.data.types import Classes
from metaft.errors import ConfigError, DataError


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


def test_captions_that_the_text_tower_would_cut_are_refused(work):
    length = work.tokens.shape[2]
    longest = " ".join(["dog"] * (length - 2))  # a token a word, and those of start and end
    assert caption_tokens(work.clip, Classes(("cat", longest), ("{}",))).shape == (2, 1, length)
    with pytest.raises(DataError, match=f"'dog dog .* is cut after {length} tokens; allowed: shorter class names"):
        caption_tokens(work.clip, Classes(("cat", longest), ("{}.",)))


def words_alone(captions: list[str], context_length: int = 16) -> torch.Tensor:
    """A tokenizer that puts nothing before and behind the words, as SigLIP's have no token at the end of a cut text."""
    numbers = [[2 + len(word) for word in caption.split()][:context_length] for caption in captions]
    return torch.tensor([row + [1] * (context_length - len(row)) for row in numbers])


def of_one_length(captions: list[str]) -> torch.Tensor:
    """The same by a person's own function, which knows no other length."""
    return words_alone(captions)


@pytest.mark.parametrize("tokenizer", [words_alone, of_one_length])
def test_a_cut_shows_without_a_token_at_the_end(work, tokenizer):
    clip = replace(work.clip, tokenizer=tokenizer)
    fits = " ".join(["dog"] * (15 if tokenizer is of_one_length else 16))
    assert caption_tokens(clip, Classes(("cat", fits), ("{}",))).shape == (2, 1, 16)
    with pytest.raises(DataError, match=r"the caption 'dog dog .*', which is cut after 16 tokens"):
        caption_tokens(clip, Classes(("cat", " ".join(["dog"] * 17)), ("{}",)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tokens: tokens[:, :8], "8 tokens a caption, the largest 49407 (The size of tensor a (8) must match"),
        (lambda tokens: tokens.repeat(1, 2), "32 tokens a caption"),
        (lambda tokens: tokens + 60_000, "16 tokens a caption, the largest 109407 (index out of range"),
        (lambda tokens: tokens.float(), "one that gives tokens of torch.float32"),
    ],
)
def test_tokens_that_the_text_tower_cannot_take_are_refused(work, change, said):
    """As of another model's tokenizer, which open_clip would take until the first caption is read."""
    clip = replace(work.clip, tokenizer=lambda captions, **given: change(work.clip.tokenizer(captions, **given)))
    with pytest.raises(ConfigError) as caught:
        caption_tokens(clip, Classes(("cat", "dog"), ("a {}",)))
    (fault,) = caught.value.faults
    assert fault.field == "tokenizer"
    assert said in fault.found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cat "),
        ("a b", "a  b"),
        ("a b", "a\u00a0b"),
        ("AT&amp;T", "AT&T"),
        ("don\u2019t", "don't"),
        ("\uff43at", "cat"),
    ],
)
def test_names_that_the_tokenizer_takes_for_one_are_refused(work, one, other):
    with pytest.raises(DataError) as caught:
        caption_tokens(work.clip, Classes((one, "dog", other), ("a {}.", "the {}.")))
    assert f"the class names {one!a} and {other!a}, which are the same to" in str(caught.value)


def test_classes_of_a_published_set_may_have_one_caption(work):
    classes = Classes.published(("cat", "dog", "cat", ""), ("a {}.", "{}"), ())
    tokens, head = caption_tokens(work.clip, classes), zero_shot(work.clip, classes).head
    assert torch.equal(tokens[0], tokens[2])
    assert torch.equal(head.weight[0], head.weight[2])
    assert head.weight.isfinite().all()
    assert torch.equal(tokens[3, 0], caption_tokens(work.clip, Classes(("a .", "b"), ("{}",)))[0, 0])


def test_what_is_trained(work):
    model = work.classifier
    names = trainable(model, text=False, freeze=())
    assert set(grouped(names)) == {"stem", "head", *(f"block.{i}.{p}" for i in range(4) for p in ("attn", "mlp"))}
    with_text = trainable(model, text=True, freeze=("*token_embedding*",))
    assert "clip.logit_scale" in with_text
    assert "clip.token_embedding.weight" not in with_text
    assert sum(len(names) for names in grouped(with_text).values()) == len(with_text)
    assert set(names) < {*with_text, "clip.token_embedding.weight"} == set(dict(model.named_parameters()))
    assert all(p is model.get_parameter(name) for name, p in picked_parameters(model, with_text).items())
    with pytest.raises(ConfigError, match="'\\*embeding\\*' matches no parameter"):
        trainable(model, text=True, freeze=("*embeding*",))


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


def test_a_model_that_holds_other_values_shares_the_rest_and_leaves_the_first_as_it_was(work):
    first = work.classifier
    before, images = copy.deepcopy(first.state_dict()), work.splits.id_val.batch(torch.arange(4)).images
    other = torch.ones(first.head.weight.shape, dtype=torch.float64)
    held = holding(first, {"head.weight": other})
    torch.testing.assert_close(held(images).logits, held(images).image_features @ other.float().T + first.head.bias)
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())
    shared = {name for name, p in held.named_parameters() if p is first.get_parameter(name)}
    assert shared == {name for name, _ in first.named_parameters()} - {"head.weight"}
    assert held.head.weight.dtype == torch.float32
    assert held.head.weight.requires_grad
