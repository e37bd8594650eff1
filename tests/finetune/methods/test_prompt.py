"""prompt: its head beside open_clip's and beside the paper's text encoder, and what it needs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from metaft.clip.classifier import zero_shot
from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from metaft.hooks.prompt import CONTEXT, Prompt, with_words_in_front
from tests.finetune.states import moved


@pytest.fixture(scope="module")
def hook(work):
    return Prompt(work.classifier.clip, work.tokens)


def test_it_begins_at_the_zero_shot_head_of_its_template(work, hook):
    classes = work.splits.classes
    (template,) = [t for t in classes.templates if not t.startswith("{}")][:1]
    theirs = zero_shot(work.clip, replace(classes, templates=(template,)))
    weight = hook.parameters(hook.variables({}, torch.Generator()), {})["head.weight"]
    torch.testing.assert_close(weight, theirs.head.weight, rtol=1e-5, atol=1e-5)


def test_other_vectors_go_through_the_text_tower_as_in_the_paper(work, hook):
    """Vectors in place of word embeddings, then positions, transformer, norm and projection at the end token."""
    clip, captions = work.clip.model, hook._tokens
    words = hook.variables({}, torch.Generator())[CONTEXT]
    context = torch.randn(words.shape, generator=torch.Generator().manual_seed(0)) * words.std()
    with torch.no_grad():
        embedded = clip.token_embedding(captions)
        embedded[:, 1 : 1 + len(words)] = context
        x = clip.transformer(embedded + clip.positional_embedding, attn_mask=clip.attn_mask)
        x = clip.ln_final(x)[torch.arange(len(captions)), captions.argmax(dim=1)] @ clip.text_projection
        weight = clip.logit_scale.exp() * x / x.norm(dim=1, keepdim=True)
    ours = hook.parameters({CONTEXT: context}, {})["head.weight"]
    torch.testing.assert_close(ours, weight, rtol=1e-4, atol=1e-4)
    assert not torch.equal(clip.token_embedding(captions), embedded), "the model's own embedding is as it was"


def test_vectors_of_each_class(work, data, context, hook):
    """They begin as the shared ones do, and come to another head."""
    own = Prompt(work.classifier.clip, work.tokens, own=True)
    first, shared = (h.variables({}, torch.Generator()) for h in (own, hook))
    assert first[CONTEXT].shape == (10, *shared[CONTEXT].shape)
    heads = [h.parameters(v, {})["head.weight"] for h, v in ((own, first), (hook, shared))]
    assert torch.equal(*heads)
    fitted = [
        METHODS["prompt"].fit(work.classifier, data, context.with_knobs("prompt", {"vectors": v}))
        for v in ("own", "shared")
    ]
    assert not torch.equal(fitted[0].head.weight, fitted[1].head.weight)


def test_only_the_head_moves_and_the_model_gets_no_gradient(work, data, context):
    classifier = work.classifier
    model = METHODS["prompt"].fit(classifier, data, context)
    assert moved(model, work.classifier) == {"head.weight"}
    assert all(p.grad is None for p in classifier.parameters())
    lengths = model.head.weight.norm(dim=1)
    torch.testing.assert_close(lengths, classifier.clip.logit_scale.exp().expand_as(lengths), rtol=1e-5, atol=0)


def test_the_words_before_the_name():
    """Templates 'NAME', which has none, and 'two words NAME'; 1 begins, 9 ends."""
    names = [[5, 6], [5, 7], [8, 4]]
    tokens = torch.tensor([[[1, *name, 9, 0, 0], [1, 2, 3, *name, 9]] for name in names])
    caption, words = with_words_in_front(tokens)
    assert words == 2
    assert torch.equal(caption, tokens[:, 1])
    with pytest.raises(
        ConfigError, match=r"and no template has a word before it; allowed: .* a template such as 'a photo"
    ):
        with_words_in_front(tokens[:, :1])


@pytest.mark.parametrize("absent", ["tokens", "tower"])
def test_it_needs_a_text_tower(work, data, short, absent):
    model, context = copy.deepcopy(work.classifier), short.varied(freeze=())
    if absent == "tokens":
        context = context.varied(tokens=None)
    else:
        model.clip = torch.nn.Module()
    with pytest.raises(
        ConfigError, match="'prompt' learns the words before a class's name, and this model has no text"
    ):
        METHODS["prompt"].fit(model, data, context)
