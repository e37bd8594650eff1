"""A model that runs on parameters which it is given, and shares all others with the model that it was made from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metaft import ranks
from metaft.clip.classifier import Classifier, Outputs, holding
from metaft.config.schema import ComputeConfig
from metaft.errors import first_line, out_of_memory
from metaft.progress import warn

SIZES = 64  # of batches, with and without a derivative, for which a part may be compiled; torch gives up after 8
Slots = list[tuple[dict[str, Any], str]]  # the places of a parameter: modules' own ones, and its name there


class Running:
    """Other modules over the same parameters; those that are not given stay as they are and take no gradients.

    What it was given last it keeps until it is given others, so that what is computed again for a derivative (see
    `ComputeConfig.checkpointing`) is computed with that.

    `model` are the modules.

    Args:
        classifier: it is not changed, and no parameter is copied.
        how: whether blocks are computed again, and whether torch compiles them.
        section: that of the settings which ask for it.
    """

    def __init__(self, classifier: Classifier, how: ComputeConfig, section: str = "finetune") -> None:
        self.model, self._section = holding(classifier, {}), section
        owners = [module._parameters for module in self.model.modules()]
        self._slots: dict[str, Slots] = {
            name: [(own, key) for own in owners for key, held in own.items() if held is p]
            for name, p in self.model.named_parameters()
        }
        self._take({name: p.detach() for name, p in classifier.named_parameters()})
        if how.checkpointing:
            clip: Any = self.model.clip
            clip.set_grad_checkpointing(True)
        self._unproven = compiled(self.model) if how.compile else []

    def __call__(self, parameters: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The outputs at parameters by name; those left out are the model's own."""
        self._take(parameters)
        if self._unproven:
            self._prove(images, tokens)
        out: Outputs = self.model(images, tokens)
        return out

    def _take(self, parameters: Mapping[str, Tensor]) -> None:
        for name, p in parameters.items():
            for own, key in self._slots[name]:
                own[key] = p

    def _prove(self, images: Tensor, tokens: Tensor | None) -> None:
        """Run what is compiled once, and its derivative; where that fails on any rank, all go without."""
        held = (own[key] for slots in self._slots.values() for own, key in slots[:1])
        live = [p for p in held if p.requires_grad]
        reason = None
        try:
            with torch.enable_grad(), torch.random.fork_rng([images.device] if images.is_cuda else []):
                out = self.model(images, tokens)
                if live:
                    torch.autograd.grad(sum(t.sum() for t in out if t is not None), live, allow_unused=True)
        except Exception as error:  # a compiler raises whatever it comes upon
            if out_of_memory(error):
                raise
            reason = first_line(error)
        reasons = [told for told in ranks.gathered(reason) if told is not None]
        if reasons:
            warn(f"{self._section}.compile: {reasons[0]}; goes on without")
            for module in self._unproven:
                module._compiled_call_impl = None
            self._unproven = []
        if live:
            self._unproven = []


def compiled(model: nn.Module) -> list[nn.Module]:
    """The parts of a model that torch now compiles as they first run, for each size of a batch.

    These are the members of lists whose members are alike, such as a transformer's blocks, for all of which one is
    compiled; in a model without such lists, it is the model.
    """
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList | nn.Sequential)]
    blocks = [block for members in lists if _alike(members) for block in members]
    # torch 2.14 looks whether the inputs of a compiled block have a gradient, and warns as they are no leaves.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SIZES)
    parts = blocks or [model]
    for part in parts:
        part.compile(dynamic=False)
    return parts


def _alike(members: nn.ModuleList | nn.Sequential) -> bool:
    """Whether there are several, all of one class, with parameters of the same names and shapes."""
    kinds = {(type(block), tuple((n, p.shape) for n, p in block.named_parameters())) for block in members}
    return len(members) > 1 and len(kinds) == 1 and bool(next(iter(kinds))[1])
