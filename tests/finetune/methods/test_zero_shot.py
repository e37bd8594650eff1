"""zero_shot: theta_0 itself."""

from __future__ import annotations

from metaft.finetune.methods import METHODS


def test_it_is_theta_0(work, data, context):
    assert METHODS["zero_shot"].fit(work.classifier, data, context) is work.classifier
