"""The optimizers of fine-tunes: torch's, with a group for each parameter group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import grouped
from metaft.config.schema import AdamWConfig
from metaft.names import value_for

MakeOptimizer = Callable[[Mapping[str, Tensor], Mapping[str, Any], AdamWConfig, str], torch.optim.Optimizer]


def adamw(
    variables: Mapping[str, Tensor], values: Mapping[str, Any], constants: AdamWConfig, precision: str = "float32"
) -> torch.optim.AdamW:
    """torch's AdamW over the variables, each group with its lr and weight decay from `values`.

    It is the one that goes through memory once, which on a CPU rounds otherwise than torch's default, and so is not
    taken there at float32.
    """
    places = {v.device.type for v in variables.values()}
    fused = places == {"cuda"} or (places == {"cpu"} and precision != "float32")
    groups = parameter_groups(variables, values)
    return torch.optim.AdamW(groups, betas=constants.betas, eps=constants.eps, fused=fused or None)


def sgd(
    variables: Mapping[str, Tensor], values: Mapping[str, Any], constants: AdamWConfig, precision: str = "float32"
) -> torch.optim.SGD:
    """torch's SGD over the variables, with momentum beta_1 and weight decay as a part of the gradient."""
    return torch.optim.SGD(parameter_groups(variables, values), momentum=constants.betas[0])


def parameter_groups(variables: Mapping[str, Tensor], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables of each group with its lr and weight decay, as torch's optimizers take them."""
    return [
        {
            "params": [variables[name] for name in members],
            "lr": value_for(values, "lr", group),
            "weight_decay": value_for(values, "wd", group),
        }
        for group, members in grouped(variables).items()
    ]
