"""car_ft: fine-tuning that keeps what theta_0 says of an image's context."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.errors import ConfigError, Fault
from metaft.finetune.captioned import caption_tokens, text_features
from metaft.finetune.context import FitContext
from metaft.finetune.own import Seen
from metaft.finetune.penalised import with_own_term


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy plus `weight` times the divergence of the distribution over contexts from theta_0's.

        weight mean_i KL(q_0(x_i) || q(x_i)),  q(x) = softmax(t V f(x)),  V_m the unit mean_c g("TEMPLATE m of c")

    A context is a caption template (a photo, a sketch, ...), whose direction V_m is that of its captions of all
    classes; g are theta_0's text features and t is its logit scale. The text tower does not train.

    Of the paper the abstract could be read: that zero-shot prompt weights give the distribution over contexts, and that
    the divergence between the original model's and the fine-tuned one's is minimised. The mean over classes, the
    temperature and the weight of 1 are from memory of it. It is no hook, since what it adds is a loss.

    Raises:
        ConfigError: the model has no text tower, or there is only one template.

    Source: Mao et al., Context-aware robust fine-tuning, IJCV 2024, arXiv 2211.16175.
    """
    tokens = caption_tokens("car_ft", classifier, context)
    needs(classifier, tokens)
    contexts = context_directions(classifier, tokens)
    return with_own_term("car_ft", lambda seen: divergence(seen, contexts), classifier, data, context)


def needs(classifier: Classifier, tokens: Tensor) -> None:
    """Refuse caption tokens [C, M, L] of one template alone.

    Raises:
        ConfigError: they are.
    """
    if tokens.shape[1] < 2:
        alone = "one template, and 'car_ft' tells contexts apart by templates"
        raise ConfigError([Fault("data.templates", alone, "openai, or a file of several")])


def context_directions(classifier: Classifier, tokens: Tensor) -> Tensor:
    """A unit direction for each of M templates [M, D], from caption tokens [C, M, L]."""
    by_class = torch.stack([text_features(classifier, captions) for captions in tokens])
    return F.normalize(by_class.mean(dim=0), dim=1)


def divergence(seen: Seen, contexts: Tensor) -> Tensor:
    """mean_i KL(q_0(x_i) || q(x_i)), [], over the contexts with these directions [M, D]."""
    state = seen.state
    scale, directions = state.logit_scale.detach(), contexts.to(state.image_features).T
    log_q, log_q0 = (F.log_softmax(scale * f @ directions, 1) for f in (state.image_features, state.reference_features))
    return F.kl_div(log_q, log_q0, reduction="batchmean", log_target=True)
