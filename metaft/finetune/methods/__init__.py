"""Fine-tuning methods by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from metaft.hooks.knobs import Knob
from metaft.hooks.registry import HOOKS, NORMS
from metaft.lazy import Lazy
from metaft.space import Categorical, Float, Int

if TYPE_CHECKING:
    from metaft.clip.classifier import Classifier
    from metaft.data.types import SearchData, Splits
    from metaft.finetune.context import FitContext


@dataclass(frozen=True)
class Method:
    """A registered method.

    Args:
        fit: (theta_0, data, context) to the fitted classifier.
        knobs: its hyperparameters, set under `finetune.knobs`.
        sees: the part of a data set that it is given; None where the data set cannot serve it. All methods but the
            oracle are given what a search is given.
    """

    description: str
    fit: Callable[[Classifier, SearchData, FitContext], Classifier]
    knobs: tuple[Knob, ...] = ()
    sees: Callable[[Splits], SearchData | None] = attrgetter("search_data")


def _method(name: str, description: str, *knobs: Knob, sees: str = "search_data") -> tuple[str, Method]:
    return name, Method(description, Lazy(f"metaft.finetune.methods.{name}:fit"), knobs, attrgetter(sees))


def _strength(default: float) -> Knob:
    return Knob(Float("weight", 1e-4, 10.0, log=True), default)


METHODS: dict[str, Method] = dict(
    (
        _method("zero_shot", "the pretrained model with its head of class names"),
        _method("linear_probe", "logistic regression on the pretrained features"),
        _method("ft", "plain fine-tuning: cross-entropy, AdamW"),
        _method("ft_ood_val", "plain fine-tuning on id_train and ood_val together"),
        _method("dfr", "ft with its last layer retrained on ood_val"),
        _method("lp_ft", "plain fine-tuning from the linear probe"),
        _method("l1_sp", "an L1 pull towards theta_0", _strength(0.1)),
        _method("l2_sp", "a squared L2 pull towards theta_0", _strength(0.01)),
        _method("kd", "theta_0's predictions kept on the training images", _strength(1.0)),
        _method(
            "lora",
            "low-rank updates of attention, and the head",
            *HOOKS["lora"].knobs,
            Knob(Float("lr_factor", 0.1, 100.0, log=True), 10.0),
        ),
        _method("flyp", "contrastive fine-tuning on captions, head rebuilt"),
        _method("wise_ft", "weights between zero_shot and ft, the mix chosen on validation data"),
        _method("ema", "the exponential moving average of ft's weights", *HOOKS["ema"].knobs),
        _method(
            "soup",
            "the average of several fine-tunes, greedy or uniform",
            Knob(Categorical("kind", ("greedy", "uniform")), "greedy"),
            Knob(Int("members", 2, 8), 4),
        ),
        _method(
            "tpgm",
            "balls around theta_0, radii learned on validation images",
            Knob(Categorical("when", ("post_hoc", "training")), "post_hoc"),
            Knob(NORMS, "l2"),
            Knob(Categorical("on", ("id_val", "ood_val")), "id_val"),
            Knob(Int("iterations", 10, 400, log=True), 100),
            Knob(Float("speed", 1e-3, 1.0, log=True), 0.03),
        ),
        _method("ftp", "balls around theta_0, radii learned from the next gradient", *HOOKS["ftp"].knobs),
        _method("spd", "decay towards theta_0 where drift no longer helps", *HOOKS["spd"].knobs),
        _method("autoft", "fine-tuning with the searched objective"),
        _method("autoft_wise", "weights between zero_shot and autoft, chosen like wise_ft's"),
        _method("oracle", "plain fine-tuning on labelled images like the OOD tests: a ceiling", sees="oracle_data"),
    )
)
