"""Every regression's penalty is the best by the metric of the settings, as scikit-learn has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from metaft.clip.predict import image_features, predict
from metaft.data.types import Domains, SearchData
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.dfr import INVERSE_PENALTIES as OF_DFR
from metaft.finetune.methods.linear_probe import INVERSE_PENALTIES as OF_PROBE
from metaft.finetune.methods.linear_probe_ood_val import INVERSE_PENALTIES as OF_BOTH
from metaft.finetune.methods.linear_probe_ood_val import WEIGHTS
from tests.conftest import by_default

METRICS = ("accuracy", "macro_f1", "mean_per_class", "nll", "worst_group")


def score(metric: str, logits: torch.Tensor, labels: np.ndarray, groups: np.ndarray) -> float:
    """A metric by scikit-learn, or torch, the higher the better."""
    said = logits.argmax(1).numpy()
    if metric == "nll":
        return -float(F.cross_entropy(logits.double(), torch.from_numpy(labels)))
    if metric == "worst_group":
        return min(accuracy_score(labels[groups == g], said[groups == g]) for g in np.unique(groups))
    return {
        "accuracy": lambda: accuracy_score(labels, said),
        "macro_f1": lambda: f1_score(labels, said, average="macro", labels=np.unique(labels)),
        "mean_per_class": lambda: balanced_accuracy_score(labels, said),
    }[metric]()


@pytest.fixture(scope="module")
def uneven(data) -> SearchData:
    """Forty images for validation, of classes of many sizes, by turns of two domains."""
    rows = torch.randperm(len(data.ood_val), generator=torch.Generator().manual_seed(0))[:40]
    domains = Domains(("one", "other"), torch.arange(40) % 2)
    return replace(data, ood_val=replace(data.ood_val.subset(rows), domains=domains))


def chosen(name: str, classifier, data: SearchData, context, metric: str) -> dict:
    """What a method chooses by a metric."""
    context = replace(context.varied(metric=metric), chosen={})
    METHODS[name].fit(classifier, data, context)
    return context.chosen


def on_all(classifier, data: SearchData, context, metric: str, name: str, knobs: dict) -> tuple[float, float]:
    """The metric of a method with these knobs on ood_val and id_val."""
    model = METHODS[name].fit(classifier, data, context.with_knobs(name, knobs))
    numbers = data.ood_val.domains.numbers.numpy()
    parts = ((data.ood_val, numbers), (data.id_val, np.zeros(len(data.id_val))))
    return tuple(score(metric, predict(model, split, 200), split.labels.numpy(), groups) for split, groups in parts)


@pytest.mark.parametrize("metric", by_default(("accuracy", "worst_group"), METRICS))
def test_a_probe_of_id_images(work, uneven, context, metric):
    def scores(c: float) -> tuple[float, float]:
        return on_all(work.classifier, uneven, context, metric, "linear_probe", {"inverse_penalty": c})

    best = max(OF_PROBE, key=lambda c: np.round(scores(c), 6).tolist())
    assert chosen("linear_probe", work.classifier, uneven, context, metric) == {"inverse_penalty": best}


def test_metrics_choose_differently(work, uneven, context):
    found = [chosen("linear_probe", work.classifier, uneven, context, metric) for metric in METRICS]
    assert len({of["inverse_penalty"] for of in found}) == 3


@pytest.mark.full
@pytest.mark.parametrize("metric", ["macro_f1", "worst_group"])
def test_a_probe_of_all_images_is_judged_over_all_folds(work, uneven, context, metric):
    """Each fold may judge by one domain, so that the worst is that of all predictions together."""
    name, ood_val = "linear_probe_ood_val", uneven.ood_val
    groups = ood_val.domains.numbers.numpy()

    def apart(weight: float, c: float) -> float:
        logits = torch.zeros(len(ood_val), 10)
        for fitting, judging in context.rows_by_fold(ood_val):
            part = replace(uneven, ood_val=ood_val.subset(fitting))
            fixed = context.with_knobs(name, {"weight": weight, "inverse_penalty": c})
            logits[judging] = predict(METHODS[name].fit(work.classifier, part, fixed), ood_val.subset(judging), 200)
        return score(metric, logits, ood_val.labels.numpy(), groups)

    found = chosen(name, work.classifier, uneven, context, metric)
    scores = {(w, c): apart(w, c) for w in WEIGHTS for c in OF_BOTH}
    assert scores[found["weight"], found["inverse_penalty"]] == pytest.approx(max(scores.values()), abs=1e-6)


@pytest.mark.parametrize("metric", ["macro_f1", "worst_group", "nll"])
def test_the_last_layer_of_a_fine_tune(work, uneven, context, metric):
    events: list[dict] = []
    seen = replace(context.varied(metric=metric), fitted=lambda _: work.classifier, log=events.append, chosen={})
    METHODS["dfr"].fit(work.classifier, uneven, seen)
    (event,) = events
    assert event["inverse_penalty"] in OF_DFR
    ood_val = uneven.ood_val
    x = StandardScaler().fit_transform(image_features(work.classifier, ood_val, 200).double().numpy())
    y, groups = ood_val.labels.numpy(), ood_val.domains.numbers.numpy()
    order = np.random.default_rng(context.settings.seed).permutation(len(y))
    fit, held = order[::2], order[1::2]

    def of(c: float) -> float:
        theirs = LogisticRegression(C=c, max_iter=2000).fit(x[fit], y[fit])
        lowest = theirs.decision_function(x[fit]).max(1).min() - np.log(len(fit) + 1)
        logits = torch.full((len(held), 10), lowest, dtype=torch.float64)
        logits[:, theirs.classes_] = torch.from_numpy(theirs.decision_function(x[held]))
        return score(metric, logits, y[held], groups[held])

    scores = {c: of(c) for c in OF_DFR}
    assert event[f"held_out_{metric}"] == pytest.approx(
        max(scores.values()), rel=1e-6, abs=1e-4
    )  # the solver stops at 1e-4
    assert scores[event["inverse_penalty"]] == pytest.approx(max(scores.values()), rel=1e-6)
