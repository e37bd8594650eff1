"""Fine-tuning methods by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData, Splits
from metaft.finetune.methods import (
    autoft,
    autoft_wise,
    dfr,
    ema,
    flyp,
    ft,
    ft_ood_val,
    ftp,
    kd,
    l1_sp,
    l2_sp,
    linear_probe,
    lora,
    lp_ft,
    oracle,
    soup,
    spd,
    tpgm,
    wise_ft,
    zero_shot,
)
from metaft.finetune.settings import FitSettings
from metaft.hooks import HOOKS, Knob

Fit = Callable[[Classifier, SearchData, FitSettings], Classifier]


@dataclass(frozen=True)
class Method:
    """A registered method.

    Args:
        sees: what it is given of a data set; None where the data set cannot serve it. All but the oracle are given
            what a search is given.
        knobs: its own hyperparameters, set under `finetune.knobs`.
    """

    description: str
    fit: Fit
    sees: Callable[[Splits], SearchData | None] = attrgetter("search_data")
    knobs: tuple[Knob, ...] = ()


METHODS: dict[str, Method] = {
    "zero_shot": Method("the pretrained model with its head of class names", zero_shot.fit),
    "linear_probe": Method("logistic regression on the pretrained features", linear_probe.fit),
    "ft": Method("plain fine-tuning: cross-entropy, AdamW", ft.fit),
    "ft_ood_val": Method("plain fine-tuning on id_train and ood_val together", ft_ood_val.fit),
    "dfr": Method("ft with its last layer retrained on ood_val", dfr.fit),
    "lp_ft": Method("plain fine-tuning from the linear probe", lp_ft.fit),
    "l1_sp": Method("an L1 pull towards theta_0", l1_sp.fit, knobs=l1_sp.KNOBS),
    "l2_sp": Method("a squared L2 pull towards theta_0", l2_sp.fit, knobs=l2_sp.KNOBS),
    "kd": Method("theta_0's predictions kept on the training images", kd.fit, knobs=kd.KNOBS),
    "lora": Method("low-rank updates of attention, and the head", lora.fit, knobs=lora.KNOBS),
    "flyp": Method("contrastive fine-tuning on captions, head rebuilt", flyp.fit),
    "wise_ft": Method("weights between zero_shot and ft, the mix chosen on validation data", wise_ft.fit),
    "ema": Method("the exponential moving average of ft's weights", ema.fit, knobs=HOOKS["ema"].knobs),
    "soup": Method("the average of several fine-tunes, greedy or uniform", soup.fit, knobs=soup.KNOBS),
    "tpgm": Method("balls around theta_0, radii learned on validation images", tpgm.fit, knobs=tpgm.KNOBS),
    "ftp": Method("balls around theta_0, radii learned from the next gradient", ftp.fit, knobs=HOOKS["ftp"].knobs),
    "spd": Method("decay towards theta_0 where drift has stopped to help", spd.fit, knobs=HOOKS["spd"].knobs),
    "autoft": Method("fine-tuning with the searched objective", autoft.fit),
    "autoft_wise": Method("weights between zero_shot and autoft, chosen like wise_ft's", autoft_wise.fit),
    "oracle": Method(
        "plain fine-tuning on labelled images like the OOD tests: a ceiling", oracle.fit, attrgetter("oracle_data")
    ),
}
