"""linear_probe: the pretrained features with a new last layer."""

from __future__ import annotations

import copy

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.regression import features, install, regression
from metaft.finetune.settings import FitSettings
from metaft.finetune.validation import validate

INVERSE_PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Logistic regression on id_train's standardised features; its inverse penalty C is chosen on validation data.

    Source: Radford et al., ICML 2021, appendix A.3 (there C is swept on validation data too).
    """
    x, y = features(classifier, data.id_train, settings)

    def probe(strength: float) -> Classifier:
        model = copy.deepcopy(classifier)
        install(model, x, lambda z: regression(z, y, strength, len(data.classes.names)))
        return model

    scores = {c: validate(probe(c), data, settings) for c in INVERSE_PENALTIES}
    chosen = max(scores, key=lambda c: scores[c])
    settings.log({"method": "linear_probe", "inverse_penalty": chosen, "ood_val_accuracy": scores[chosen][0]})
    return probe(chosen)
