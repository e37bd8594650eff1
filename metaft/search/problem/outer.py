"""Outer losses: what a search minimises on the outer set, from logits [B, C] and labels [B]; see `registry`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.metrics import ID_PRICE, METRICS, SURE, Gap, accuracy
from metaft.search.registry import OuterLoss

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits [B, C] and labels [B]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """A smooth error rate: mean_i sigmoid(-m_i / s), m_i = z_i[y_i] - max_{c != y_i} z_ic, s = mean_i |m_i|.

    In [0, 1]; the same for every temperature, so mere confidence changes nothing.
    """
    is_label = F.one_hot(labels, logits.shape[1]).bool()
    margins = logits[is_label] - logits.masked_fill(is_label, -torch.inf).amax(dim=1)
    return torch.sigmoid(-margins / margins.abs().mean().clamp_min(1e-12)).mean()


def error(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of wrong predictions; piecewise constant."""
    return (logits.argmax(dim=1) != labels).to(logits.dtype).mean()


def macro_f1(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - macro F1 (see `metaft.measures.macro_f1`); piecewise constant."""
    return logits.new_tensor(1 - METRICS["macro_f1"](logits, labels))


def mean_per_class(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - the mean over classes of the share of each that is right; piecewise constant."""
    return logits.new_tensor(1 - METRICS["mean_per_class"](logits, labels))


@dataclass(frozen=True)
class Judgement:
    """The outer loss of one outer batch, the smooth one that is differentiated, and the metric told beside them."""

    function: Loss
    smooth: Loss
    metric: Callable[[Tensor, Tensor], float] = accuracy

    @classmethod
    def over(cls, loss: OuterLoss, how: str, domains: Tensor | None) -> Judgement:
        """The outer loss on all images of a batch, or the mean or the worst of its values by domain.

        Args:
            how: `pooled`, `mean` or `worst`.
            domains: the number of each image's domain, [B].

        Source: Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020 (worst).
        """
        if how == "pooled" or domains is None:
            return cls(loss.function, loss.smooth)
        return cls(by_domain(loss.function, how, domains), by_domain(loss.smooth, how, domains))


def by_domain(loss: Loss, how: str, domains: Tensor) -> Loss:
    """The mean or the worst (`how`) over the domains d of loss(z[domains = d], y[domains = d]).

    Args:
        domains: the number of each image's domain, [B]; -1: in none, left out where any image is in one.
    """
    numbers = domains[domains >= 0].unique() if bool((domains >= 0).any()) else domains.unique()
    parts = [(domains == number).nonzero()[:, 0] for number in numbers]

    def function(logits: Tensor, labels: Tensor) -> Tensor:
        values = torch.stack([loss(logits[rows], labels[rows]) for rows in parts])
        return values.mean() if how == "mean" else values.max()

    return function


@dataclass(frozen=True)
class Floor:
    """The ID accuracy that a search is to keep; what is surely missing from it has its price in outer loss.

    Sure is what `SURE` standard errors of the paired difference leave, since the images are few.

    Args:
        images, labels: of the ID validation set.
        right: whether the model that is the measure is right on each image, [B].
        margin: its `margin` loss, for where a gradient is needed.
        drop: the share by which accuracy may be below its own.
        price: outer loss for a share of accuracy that is missing.
    """

    images: Tensor
    labels: Tensor
    right: Tensor
    margin: float
    drop: float
    price: float

    @classmethod
    def under(cls, images: Tensor, labels: Tensor, logits: Tensor, drop: float, slope: float) -> Floor:
        """The floor that lies `drop` (a share) below what these logits reach.

        What is missing costs `metaft.metrics.ID_PRICE` times what as much accuracy is worth in an outer loss of this
        slope: the same price as wherever models are judged by accuracy.
        """
        right = logits.argmax(dim=1) == labels
        return cls(images, labels, right, float(margin(logits, labels)), drop, ID_PRICE * slope)

    def cost(self, logits: Tensor) -> float:
        """price * max(0, mean difference - SURE * its error - drop)."""
        return self.price * self._gap(logits).beyond(self.drop)

    def smooth(self, logits: Tensor) -> Tensor:
        """price * max(0, difference of margin losses - SURE * error - drop), which has a gradient."""
        missing = margin(logits, self.labels) - self.margin - SURE * self._gap(logits).error
        return self.price * F.relu(missing - self.drop)

    def _gap(self, logits: Tensor) -> Gap:
        return Gap.between(self.right, logits.argmax(dim=1) == self.labels)
