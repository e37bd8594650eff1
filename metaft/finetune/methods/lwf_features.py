"""lwf_features: fine-tuning that keeps theta_0's features on the training images."""

from __future__ import annotations

from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.own import Seen
from metaft.finetune.penalised import with_own_term


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy plus `weight` times the squared distance of the features from theta_0's.

        weight mean_i |f(x_i) - f_0(x_i)|^2

    with f the image features of unit length, so that the mean lies in [0, 4] for models of any width. The default of
    1 is ours: the paper's range was not found. It is no hook, since what it adds is a loss and not a change of a step.

    Source: Tan et al., Feature protection, arXiv 2405.16027 (its KD, on the fine-tuning inputs); Li and Hoiem, Learning
    without forgetting, ECCV 2016, whose logits this replaces by features.
    """
    return with_own_term("lwf_features", moved, classifier, data, context)


def moved(seen: Seen) -> Tensor:
    """mean_i |f(x_i) - f_0(x_i)|^2, []."""
    return (seen.state.image_features - seen.state.reference_features).square().sum(dim=1).mean()
