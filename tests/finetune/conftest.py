"""Contexts of fits: one epoch on small digits, and twenty steps with a learned objective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft import config
from metaft.build.fits import fit_settings
from metaft.build.fits import fits as fits_of
from metaft.finetune.context import FitContext
from metaft.finetune.methods import METHODS
from metaft.objective import Objective
from tests.conftest import SMALL

KNOBS = {"lora": {"rank": 4}, "soup": {"members": 2}, "tpgm": {"iterations": 10}, "fisher_merge": {"images": 20}}


@pytest.fixture(scope="session")
def data(work):
    return work.splits.search_data


@pytest.fixture(scope="session")
def context(work):
    """One epoch of plain fine-tuning, without a learned objective."""
    return FitContext(fit_settings(work))


@pytest.fixture(scope="session")
def tuned(work, data, context):
    """What `ft` makes of theta_0 in that epoch."""
    return METHODS["ft"].fit(work.classifier, data, context)


@pytest.fixture(scope="session")
def few(work):
    """The workspace with a hundred images of ood_val."""
    return replace(work, splits=replace(work.splits, ood_val=work.splits.ood_val.subset(torch.arange(100))))


@pytest.fixture(scope="session")
def short(work):
    """Twenty steps of twenty images with a check after ten, with a learned objective and small knobs."""
    learned = Objective({"ce": 1.0, "kd": 0.3, "l2init": 0.01}, 1e-3, 0.1, method="spd", knobs={"strength": 0.5})
    settings = replace(fit_settings(work, learned), steps=20, checks=2)
    return FitContext(
        replace(settings, finetune=settings.finetune.model_copy(update={"knobs": KNOBS, "batch_size": 20}))
    )


@pytest.fixture(scope="session")
def fits(few, short):
    """Every method after these twenty steps, fitted when first asked for."""
    return fits_of(few, short)


@pytest.fixture(scope="session")
def probed(work):
    """The workspace of the probe's head, on the same data and model."""
    return replace(work, cfg=config.load(None, [*SMALL, "objective.head=linear_probe"]))
