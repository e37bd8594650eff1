"""bitfit: torch's AdamW on biases and the head alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaft import config
from metaft.build.opened import faults_in
from metaft.errors import ConfigError
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.hooks.chosen import Chosen
from metaft.hooks.registry import hook_for
from tests.conftest import SMALL
from tests.finetune.states import by_hand, close, moved, same


def test_it_is_torch_on_biases_and_the_head(work, data, context):
    names = {n for n, _ in work.classifier.named_parameters() if n.startswith(("clip.visual.", "head."))}
    biases = {n for n in names if n.split(".")[-1] in ("bias", "in_proj_bias")} | {"head.weight"}
    model = METHODS["bitfit"].fit(work.classifier, data, context.with_knobs("bitfit", {"lr_factor": 2.0}))
    assert moved(model, work.classifier) == biases
    close(model, by_hand(work.classifier, dict.fromkeys(sorted(biases), 2e-3), data, context))


def test_all_parameters_chosen_are_plain_fine_tuning(work, data, context, tuned):
    """With the weight decay and the moments of `ft`, bit for bit."""
    model = train(
        work.classifier, context.settings.plain, data, context, "x", hook=lambda _, names: (Chosen(names), {})
    )
    assert same(model, tuned)


def test_a_model_without_biases(work):
    with pytest.raises(ConfigError, match="'bitfit' trains biases, and this model has none to train outside its head"):
        hook_for("bitfit", ["clip.visual.conv1.weight", "head.weight", "head.bias"], work.cfg.finetune)
    frozen = config.load(
        None, [*SMALL, "model.freeze=['*token_embedding*', 'clip.*bias']", "evaluation.methods=[bitfit]"]
    )
    (fault,) = faults_in(replace(work, cfg=frozen))
    assert str(fault).startswith("evaluation.methods: 'bitfit' trains biases")
