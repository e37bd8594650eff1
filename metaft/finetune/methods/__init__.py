"""Fine-tuning methods by name: one file each, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaft.finetune.method import Method, always, method
from metaft.hooks.knobs import Knob, settled
from metaft.hooks.registry import HOOKS, NORMS, per_mille
from metaft.objective.heads import HEADS
from metaft.space import Categorical, Float, Int

if TYPE_CHECKING:
    from metaft.finetune.context import FitSettings

LEARNED = ("autoft", "autoft_wise", "autoft_end")  # methods that need a learned objective
CURVED = "wise_ft"  # the method whose whole way is shown
PLAIN = "ft"  # the method whose accuracy in distribution is to be kept
CEILING = "oracle"  # the method that is no competitor
BEST = "best_by_ood_val"  # the method that only picks another one


def _by_its_objective(settings: FitSettings) -> bool:
    """Whether the learned objective trains on ood_val: as a source, or in the head that it begins with."""
    learned = settings.learned
    if learned is None:
        return False
    return "ood_val" in learned.trained_sources or HEADS[learned.head].fits_ood_val


def _by_its_radii(settings: FitSettings) -> bool:
    """Whether tpgm's radii learn on ood_val."""
    return bool(settled(METHODS["tpgm"].knobs, settings.finetune.knobs.get("tpgm", {}))["on"] == "ood_val")


def _in_training(settings: FitSettings) -> bool:
    """Whether tpgm projects in training."""
    return bool(settled(METHODS["tpgm"].knobs, settings.finetune.knobs.get("tpgm", {}))["when"] == "training")


def _weight(default: float, most: float) -> Knob:
    """The weight of a method's term; at 0 the method is plain fine-tuning."""
    return Knob(Float("weight", 0.0, most, scale="asinh"), default)


def _lr_factor(default: float, most: float = 100.0) -> Knob:
    """The learning rate in units of plain fine-tuning's."""
    return Knob(Float("lr_factor", 0.1, most, log=True), default)


MIX = Knob(Float("alpha", 0.0, 1.0), None)  # the weight of the fine-tuned model
PENALTY = Knob(Float("inverse_penalty", 1e-6, 1e6, log=True), None)  # C, of logistic regression
SHARE = Knob(Float("weight", 1e-2, 100.0, log=True), None)  # of ood_val, beside a weight of 1 of id_train


METHODS: dict[str, Method] = dict(
    (
        method("zero_shot", "the pretrained model with its head of class names", "Radford et al., ICML 2021"),
        method("linear_probe", "logistic regression on the pretrained features", "Radford et al., ICML 2021", PENALTY),
        method(
            "linear_probe_ood_val",
            "logistic regression on the pretrained features of id_train and ood_val",
            "Radford et al., ICML 2021",
            SHARE,
            PENALTY,
            fits_ood_val=always,
        ),
        method(
            "wise_probe",
            "the last layer between zero_shot's and linear_probe_ood_val's, the mix chosen on validation data",
            "Wortsman et al., CVPR 2022",
            MIX,
            fits_ood_val=always,
        ),
        method("ft", "plain fine-tuning: cross-entropy, AdamW", ""),
        method(
            "ft_ood_val",
            "plain fine-tuning on id_train and ood_val together",
            "",
            SHARE,
            Knob(Float("lr_factor", 1e-2, 10.0, log=True), None),
            fits_ood_val=always,
        ),
        method(
            "dfr",
            "ft with its last layer retrained on ood_val",
            "Kirichenko et al., ICLR 2023",
            PENALTY,
            fits_ood_val=always,
        ),
        method("lp_ft", "plain fine-tuning from the linear probe", "Kumar et al., ICLR 2022"),
        method("l1_sp", "an L1 pull towards theta_0", "Li et al., ICML 2018", _weight(0.1, 10.0)),
        method("l2_sp", "a squared L2 pull towards theta_0", "Li et al., ICML 2018", _weight(0.01, 10.0)),
        method(
            "kd", "theta_0's predictions kept on the training images", "Li and Hoiem, ECCV 2016", _weight(1.0, 10.0)
        ),
        method(
            "lora",
            "low-rank updates of attention, and the head",
            "Hu et al., ICLR 2022",
            *HOOKS["lora"].knobs,
            _lr_factor(10.0),
        ),
        method("flyp", "contrastive fine-tuning on captions, head rebuilt", "Goyal et al., CVPR 2023"),
        method(
            "lwf_features",
            "theta_0's features kept on the training images",
            "Tan et al., arXiv 2405.16027",
            _weight(1.0, 100.0),
        ),
        method(
            "car_ft", "theta_0's view of contexts kept", "Mao et al., IJCV 2024", _weight(1.0, 100.0), has_needs=True
        ),
        method(
            "lipsum_ft",
            "theta_0's similarity of images to random texts kept",
            "Nam et al., ICLR 2024",
            _weight(1.0, 100.0),
            Knob(Int("texts", 1, 1000, log=True), 80),
            Knob(Int("tokens", 1, 64), 8),
        ),
        method(
            "carot",
            "flyp towards an orthogonal projection, taught by a moving average of itself",
            "Oh et al., NeurIPS 2024",
            Knob(Float("orthogonality", 0.0, 10.0, scale="asinh"), 0.2),
            Knob(Float("distillation", 0.0, 10.0, scale="asinh"), 1.5),
            Knob(Float("decay", 0.0, 1.0), 0.9),
            Knob(Int("updates", 1, 10_000, log=True), 50),
            whole=always,
            has_needs=True,
        ),
        method(
            "rehearsal",
            "theta_0's predictions kept on images like those of pretraining",
            "Robins, Connection Science 1995",
            Knob(Float("share", 0.0, 0.95), 0.5),
            sees="rehearsal_data",
        ),
        method(
            "wise_ft",
            "weights between zero_shot and ft, the mix chosen on validation data",
            "Wortsman et al., CVPR 2022",
            MIX,
        ),
        method(
            "fisher_merge",
            "zero_shot and ft averaged by their Fisher information, the mix chosen on validation data",
            "Matena and Raffel, NeurIPS 2022",
            MIX,
            Knob(Int("images", 1, 100_000, log=True), 256),
        ),
        method(
            "wise_ft_groups",
            "wise_ft with a mix for each parameter group, learned on ood_val",
            "Wortsman et al., CVPR 2022",
            fits_ood_val=always,
        ),
        method(
            "dawin",
            "weights between zero_shot and ft, the mix told by their entropies on ood_val",
            "Oh et al., ICLR 2025",
            MIX,
        ),
        method(
            "ema",
            "the exponential moving average of ft's weights",
            "Polyak and Juditsky, SIAM 1992",
            *HOOKS["ema"].knobs,
        ),
        method(
            "soup",
            "the average of several fine-tunes, greedy or uniform",
            "Wortsman et al., ICML 2022",
            Knob(Categorical("kind", ("greedy", "uniform")), "greedy"),
            Knob(Int("members", 2, 8), 4),
        ),
        method(
            "model_stock",
            "the centre of fine-tunes of several seeds, told from the angle between them",
            "Jang et al., ECCV 2024",
            Knob(Int("members", 2, 8), 2),
        ),
        method(
            "mixout",
            "weights put back to theta_0 at random in each step",
            "Lee et al., ICLR 2020",
            *HOOKS["mixout"].knobs,
        ),
        method(
            "gmixout",
            "the same about a moving anchor, with masks that are kept for several steps",
            "Aminbeidokhti et al., arXiv 2510.06982",
            *HOOKS["gmixout"].knobs,
        ),
        method(
            "tpgm",
            "balls around theta_0, radii learned on validation images",
            "Tian et al., CVPR 2023",
            Knob(Categorical("when", ("post_hoc", "training")), "post_hoc"),
            Knob(NORMS, "l2"),
            Knob(Categorical("on", ("id_val", "ood_val")), "id_val"),
            Knob(Int("iterations", 10, 400, log=True), 100),
            Knob(Float("speed", 1e-3, 1.0, log=True), 0.03),
            fits_ood_val=_by_its_radii,
            whole=_in_training,
        ),
        method(
            "ftp",
            "balls around theta_0, radii learned from the next gradient",
            "Tian et al., NeurIPS 2023",
            *HOOKS["ftp"].knobs,
            Knob(Categorical("optimizer", ("adamw", "sgd")), "adamw"),
            _lr_factor(1.0, most=1000.0),
        ),
        method(
            "spd", "decay towards theta_0 where drift no longer helps", "Tian et al., NeurIPS 2024", *HOOKS["spd"].knobs
        ),
        method(
            "digrap",
            "steps without a learned share of what takes them further from theta_0",
            "Huang et al., ICLR 2025",
            Knob(Float("speed", 0.0, 1.0, scale="asinh"), 0.1),  # set to 0 it is ft; a search keeps above 0
        ),
        method("bitfit", "biases and the head alone", "Ben Zaken et al., ACL 2022", _lr_factor(10.0)),
        method("freeze_embed", "all but what embeds patches", "Kumar et al., arXiv 2211.09359"),
        method(
            "layer_decay",
            "learning rates that fall with every layer from the output",
            "Clark et al., ICLR 2020",
            *HOOKS["layer_decay"].knobs,
        ),
        method(
            "sift",
            "the entries of each tensor with the largest first gradients, and the head",
            "Song et al., ICML 2024",
            *HOOKS["sift"].knobs,
            _lr_factor(10.0),
        ),
        method(
            "saft",
            "the entries of all tensors with the largest gradients over id_train",
            "Nguyen et al., ECCV 2024",
            per_mille(1),
            _lr_factor(10.0),
            whole=always,
        ),
        method(
            "surgical",
            "a third of the layers, or each as far as its gradient is large beside it",
            "Lee et al., ICLR 2023",
            *HOOKS["surgical"].knobs,
        ),
        method(
            "diff_pruning",
            "theta_0 and a difference of few entries, under an L0 penalty",
            "Guo et al., ACL 2021",
            *HOOKS["diff_pruning"].knobs,
            _lr_factor(10.0),
        ),
        method(
            "prompt",
            "the words before class names, as vectors",
            "Zhou et al., IJCV 2022",
            Knob(Categorical("vectors", ("shared", "own")), "shared"),
            _lr_factor(10.0),
            whole=always,
            has_needs=True,
            makes=("head.weight",),
        ),
        method(
            "r_adapter",
            "adapters of attention and MLP, dropped at random, averaged and rescaled, and the head",
            "Kim et al., ECCV 2024",
            *HOOKS["r_adapter"].knobs,
            _lr_factor(10.0),
        ),
        method(
            "autoft",
            "fine-tuning with the searched objective, at its share of the way",
            "Choi et al., arXiv 2401.10220",
            fits_ood_val=_by_its_objective,
        ),
        method(
            "autoft_end",
            "the same to the end of the way",
            "Choi et al., arXiv 2401.10220",
            fits_ood_val=_by_its_objective,
        ),
        method(
            "autoft_wise",
            "weights between where autoft begins and ends, chosen like wise_ft's",
            "Choi et al., arXiv 2401.10220",
            MIX,
            fits_ood_val=_by_its_objective,
        ),
        method(
            "best_by_ood_val",
            "the plain method with the best cross-fitted accuracy on ood_val",
            "Gulrajani and Lopez-Paz, ICLR 2021",
        ),
        method("oracle", "plain fine-tuning on labelled images like the OOD tests: a ceiling", "", sees="oracle_data"),
    )
)
