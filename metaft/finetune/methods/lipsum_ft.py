"""lipsum_ft: fine-tuning that keeps theta_0's similarity of images to random texts."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.captioned import caption_tokens, text_features
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.own import Seen
from metaft.finetune.penalised import with_own_term


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy plus `weight` times the squared change of the energies of images beside random texts.

        weight mean_i 1/(2M) sum_m (t <g(s_m), f(x_i)> - t <g(s_m), f_0(x_i)>)^2

    over M = `texts` texts s_m of `tokens` random tokens each, new ones in every step; g are theta_0's text features
    and t is its logit scale. The text tower does not train. The weight of 1, 80 texts and 8 tokens are the released
    code's; it multiplies by t, as here, which the paper's formula does not show. It is no hook, since what it adds is
    a loss and not a change of a step.

    Raises:
        ConfigError: the model has no text tower.

    Source: Nam, Heo and Lee, Lipsum-FT, ICLR 2024, arXiv 2404.00860, section 5.1.
    """
    captions = caption_tokens("lipsum_ft", classifier, context)
    knobs, seed = knobs_of("lipsum_ft", context), context.settings.seed

    def change(seen: Seen) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + seen.step)
        texts = random_texts(captions, knobs["texts"], knobs["tokens"], generator)
        return energy_gap(seen, text_features(classifier, texts))

    return with_own_term("lipsum_ft", change, classifier, data, context)


def energy_gap(seen: Seen, texts: Tensor) -> Tensor:
    """mean_i |v(x_i) - v_0(x_i)|^2 / 2M, [], with v = t <text, image> of texts of these features [M, D]."""
    state = seen.state
    moved = state.image_features - state.reference_features
    gaps = state.logit_scale.detach() * moved @ texts.to(moved).T
    return gaps.square().mean() / 2


def random_texts(captions: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Tokens [count, L] of random texts, in the form of captions [C, M, L].

    A text begins as captions do and ends with their largest token, which is that of an end in CLIP's vocabulary; those
    between are neither. It is filled up like the captions, and is shorter where they have no room for `length`.
    """
    flat = captions.flatten(0, 1).cpu()
    begin, end, context = flat[0, 0], flat.max(), flat.shape[1]
    length = min(length, context - 2)
    texts = flat[:1, -1:].repeat(count, context)
    texts[:, 0], texts[:, length + 1] = begin, end
    vocabulary = begin if begin == end - 1 else end  # CLIP's last two tokens are those of a text's begin and end
    texts[:, 1 : length + 1] = torch.randint(int(vocabulary), (count, length), generator=generator)
    return texts.to(captions.device)
