"""wise_ft_groups: weights between the zero-shot and the fine-tuned model, with a mix for each parameter group."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from metaft.clip.classifier import Classifier, group_of, holding
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import unlike
from metaft.finetune.validation import Score, named, validate

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
Mix = Mapping[str, float]  # the weight of the fine-tuned model, by group


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """(1 - alpha_g) theta_0 + alpha_g theta_1 over the weights of each group g, with the alphas learned on ood_val.

    All groups begin with the best common alpha; then each in turn, from the head to the stem, takes the best of its
    own beside the others', where that is better. The order is that of wise_ft: the metric on ood_val, then on id_val.
    Groups are those of the learned objective (`stem`, `block.I.attn`, ..., `head`). That many choices fit the images
    they are made by, so ood_val counts as trained on: others of its images judge.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 4; by group is ours. `tpgm` with
    the norm l2 has an alpha for each tensor, learned by gradients.
    """
    begin, end = context.fitted("zero_shot"), context.fitted("ft")
    groups = tuple(dict.fromkeys(map(group_of, reversed(unlike(begin, end)))))

    def score(mix: Mix) -> Score:
        found = validate(mixed(begin, end, mix), data, context)
        context.log({"method": "wise_ft_groups", "alpha": dict(mix), **named(*found, context)})
        return found

    common = {alpha: dict.fromkeys(groups, alpha) for alpha in ALPHAS}
    scores = {alpha: score(mix) for alpha, mix in common.items()}
    alpha = max(ALPHAS, key=lambda a: scores[a])
    mix, best = common[alpha], scores[alpha]
    for group in groups:
        for tried in [{**mix, group: alpha} for alpha in ALPHAS if alpha != mix[group]]:
            if (found := score(tried)) > best:
                mix, best = tried, found
    return mixed(begin, end, mix)


@torch.no_grad()
def mixed(begin: Classifier, end: Classifier, mix: Mix) -> Classifier:
    """The model between two, at the share of the way that its group has for each weight."""
    parts = unlike(begin, end)
    return holding(end, {name: torch.lerp(p, q, mix[group_of(name)]) for name, (p, q) in parts.items()})
