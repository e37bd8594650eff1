"""A model that runs on parameters which it is given, and shares all others with the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, compile

from metaft.clip.classifier import Classifier, Outputs, holding
from metaft.config.schema import ComputeConfig
from metaft.errors import MetaftError, first_line
from metaft.progress import warn

T = TypeVar("T")
Slots = list[tuple[dict[str, Any], str]]  # the places of a parameter: modules' own ones, and its name there


class Running:
    """Other modules over the same parameters; those that are not given stay as they are and take no gradients.

    What it was given last it keeps until it is given others, so that what is computed again for a derivative (see
    `ComputeConfig.checkpointing`) is computed with that.

    `model` are the modules.

    Args:
        classifier: it is not changed, and no parameter is copied.
        how: whether blocks are computed again, and whether torch compiles the model.
    """

    def __init__(self, classifier: Classifier, how: ComputeConfig) -> None:
        eager: Any = holding(classifier, {})
        owners = [module._parameters for module in eager.modules()]
        self._slots: dict[str, Slots] = {
            name: [(own, key) for own in owners for key, held in own.items() if held is p]
            for name, p in eager.named_parameters()
        }
        self._take({name: p.detach() for name, p in classifier.named_parameters()})
        if how.checkpointing:
            eager.clip.set_grad_checkpointing(True)
        self.model: Classifier = eager
        self._forward = compile(eager) if how.compile else eager
        self._proven = not how.compile

    def __call__(self, parameters: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The outputs at parameters by name; those left out are the model's own."""
        self._take(parameters)
        out: Outputs = self._forward(images, tokens)
        return out

    def _take(self, parameters: Mapping[str, Tensor]) -> None:
        for name, p in parameters.items():
            for own, key in self._slots[name]:
                own[key] = p

    def tried(self, work: Callable[[], T]) -> T:
        """The result of work that runs the model; where its first time fails with a compiled one, it goes without."""
        if self._proven:
            return work()
        try:
            result = work()
        except MetaftError:
            raise
        except Exception as error:  # a compiler raises whatever it comes upon
            warn(f"finetune.compile: {first_line(error)}; goes on without")
            self._forward, self._proven = self.model, True
            return work()
        self._proven = True
        return result
