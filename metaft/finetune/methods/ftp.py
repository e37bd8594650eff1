"""ftp: fine-tuning within balls around theta_0 that learn their radii as they go."""

from __future__ import annotations

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of, paced
from metaft.finetune.loop import train_with_hook
from metaft.finetune.optimizers import adamw, sgd

OPTIMIZERS = {"adamw": adamw, "sgd": sgd}


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Cross-entropy with the hook `metaft.hooks.ftp.FTP` (Tian et al., NeurIPS 2023, algorithm 1).

    `optimizer` proposes what is projected: `adamw`, which is the authors' AdamP to the letter (weight decay apart from
    the moments), or `sgd`, their SGDP: momentum, and weight decay within the gradient. For SGD their runs have 100
    times AdamP's learning rate, and 1,000 times with a tenth of the images; here it is `lr_factor` times plain
    fine-tuning's, up to 1,000. A search's inner loop is AdamW's.
    """
    optimizer = OPTIMIZERS[knobs_of("ftp", context)["optimizer"]]
    return train_with_hook(classifier, data, paced("ftp", context), "ftp", optimizer)
