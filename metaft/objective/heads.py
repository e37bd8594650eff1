"""The last layers that a learned objective may begin with: one line each."""

from __future__ import annotations

from dataclasses import dataclass

ZERO_SHOT = "zero_shot"
AUTO = "auto"  # no head: the search chooses one


@dataclass(frozen=True)
class Head:
    """A registered head.

    Args:
        method: the fine-tuning method that fits it; its trunk is theta_0's.
        fits_ood_val: whether it is trained on images of ood_val.
    """

    description: str
    method: str
    fits_ood_val: bool = False


HEADS: dict[str, Head] = {
    ZERO_SHOT: Head("class names in caption templates", "zero_shot"),
    "linear_probe": Head("logistic regression on the pretrained features", "linear_probe"),
    "linear_probe_ood_val": Head("the same on id_train and ood_val together", "linear_probe_ood_val", True),
    "wise_probe": Head("between class names and the regression on both", "wise_probe", True),
}
