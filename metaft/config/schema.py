"""The settings, by sections: typed, frozen, with their defaults.

A section is the very object that the code takes, or inherits from such objects: a descent takes a `DescentConfig`, and
the section `hypergrad` is one. So every default is written once. Names that registries hold are checked by
`metaft.build.check`. Those of the search are in `metaft.config.searching`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from metaft.config import limits
from metaft.config.paths import Named, Place
from metaft.config.searching import DescentConfig as DescentConfig
from metaft.config.searching import FinalChoice as FinalChoice
from metaft.config.searching import HypergradConfig as HypergradConfig
from metaft.config.searching import OuterConfig as OuterConfig
from metaft.config.searching import SearchConfig as SearchConfig
from metaft.config.searching import StorageConfig as StorageConfig
from metaft.config.searching import TPEConfig as TPEConfig
from metaft.config.section import (
    Batch,
    Count,
    CountOr0,
    Images,
    NotNegative,
    PartsOr0,
    Positive,
    Section,
    Share,
    WorkersConfig,
)
from metaft.objective.heads import AUTO

MOVABLE = (  # settings that a run may have others of when it goes on
    *("device", "out", "report_to", "data.workers", "finetune.shard", "inner.shard"),
    *("finetune.accumulate", "finetune.checkpointing", "finetune.compile", "finetune.keep_checks"),
    *("evaluation.executor", "evaluation.workers", "evaluation.gpu_share"),
)


def _names(value: Any) -> Any:
    """A list of names, which may be a single one."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class DataConfig(Section):
    """Where images come from. `options` belongs to the format and is checked by it.

    `corruptions` is for data without labelled OOD images. Images held out of id_train, each corrupted in one of these
    ways at the model's size, are then `ood_val`, and each way is a domain; an `ood_val` that the data has is left out.
    """

    format: str = "digits"  # see --list datasets
    root: Place | None = None  # the folder that paths are below
    classnames: Place | None = None  # a file: one name a line in the order of the class folders, or `folder = name`
    templates: Named | None = None  # simple, openai, or a file with one template a line; null: the format's own
    on_unreadable: Literal["stop", "skip", "late"] = "stop"  # late: as stop, but no file is tried before it is used
    ground: str = "white"  # the colour beneath transparent pictures, by name or as #rrggbb
    cache_gib: NotNegative = 64.0  # of decoded pictures on disk, all splits together; older ones make way
    workers: PartsOr0 | None = None  # processes that decode ahead what is not kept; null: one a processor, at most 8
    shots: Images | None = None  # how many images of each class of id_train are used, drawn by the seed
    exif_rotation: bool = False  # turn pictures as their EXIF orientation says; open_clip does not
    corruptions: tuple[str, ...] = ()  # `all`, or names of ImageNet-C's: see above
    severity: int = Field(5, ge=1, le=5)  # of the corruptions
    corrupted: Images | None = None  # images held out of id_train for them; null: a tenth, at most 1000
    options: dict[str, Any] = Field(default_factory=dict)  # of the format: paths of splits, names of columns, sizes

    _begun: Any = PrivateAttr(None)

    @property
    def begun(self) -> Any:
        """What the run has read as it began (`metaft.data.first_reading.FirstReading`); None where nothing keeps it."""
        return self._begun

    def since(self, begun: Any) -> DataConfig:
        """The same settings, for data of which this was read as the run began."""
        same = self.model_copy()
        same._begun = begun
        return same

    @field_validator("corruptions", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return _names(value)

    @field_validator("ground")
    @classmethod
    def _known_colour(cls, value: str) -> str:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(value)
        except ValueError:
            raise PydanticCustomError("colour", "a colour: black, #rrggbb, ...") from None
        return value


class ModelConfig(Section):
    """Which CLIP model. `freeze` names parameters (with `*`) that stay at their pretrained values."""

    name: Named = "toy-clip"  # see --list models; or hf-hub:NAME, local-dir:PATH
    pretrained: Named | None = None  # a tag, a file or `random`; null: the toy's own weights
    resize: bool = False  # interpolate positional embeddings of a file trained at another image size or text length
    freeze: tuple[str, ...] = ("*token_embedding*",)  # patterns of parameters that do not train


class ObjectiveConfig(Section):
    """What is searched: term weights, learning rate and weight decay, and the recipe the search starts from.

    `fixed` holds the values that are not searched, which may include lr and wd.
    """

    terms: tuple[str, ...] = (
        *("dcm", "entropy", "flyp", "hinge", "kd"),
        *("l1init", "l1zero", "l2init", "l2zero"),
    )
    fixed: dict[str, float] = Field(default_factory=lambda: {"ce": 1.0})
    penalty_scale: Literal["standard", "released"] = "standard"  # l1 over sqrt(N), l2 as it is; released: both over N
    weight_scale: str = "asinh"  # of term weights in the unit cube: asinh, softplus, log or linear
    weight_units: Literal["fixed", "gradient"] = "fixed"  # gradient: ranges in units of each term's pull beside ce's
    per_group: tuple[str, ...] = ()  # lr, wd and penalties of which each parameter group has its own
    mix: bool = True  # search the share `alpha` of its way at which a fine-tune's weights end; not with search.method
    head: str = AUTO  # the last layer that a learned objective begins with: auto (searched), or one by name
    bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)  # NAME: [least, most], of what is searched
    recipe: dict[str, float] = Field(default_factory=dict)  # NAME: value, where a search begins; see configs/objectives

    @model_validator(mode="after")
    def _each_once(self) -> ObjectiveConfig:
        both = sorted(set(self.terms) & set(self.fixed))
        if both:
            raise ValueError(f"terms and fixed both name {', '.join(both)}")
        for field in ("terms", "per_group"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(f"{field} names {next(name for name in names if names.count(name) > 1)} twice")
        if not self.terms and not self.fixed:
            raise ValueError("terms and fixed are both empty")
        return self


class AdamWConfig(Section):
    """The optimizer's constants, the same in the inner loop and in every fine-tune."""

    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Positive = 1e-6  # smaller ones turn rounding into hypergradients


class StepConfig(AdamWConfig):
    """How one inner step is computed."""

    accumulate: Batch = 1  # parts of a batch, one at a time in memory
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; benchmarks/RESULTS.md has its error
    checkpointing: bool = False  # as finetune.checkpointing; with `differences` and `forward`
    compile: bool = False  # by torch.compile, with `differences`: pays in long searches
    shard: bool = False  # on several ranks each holds a part of states, gradients and adjoints (see docs/ranks.md)


class TrainingConfig(Section):
    """What the inner loop and fine-tunes do to training images."""

    augment: Literal["none", "crop", "crop_flip"] = (
        "none"  # random crops as open_clip's (see `metaft.training.augment`)
    )


class InnerConfig(StepConfig, TrainingConfig):
    """The inner loop: its length, its batches and its learning rates."""

    steps: Count = 10  # T
    batch_size: Batch = 32  # images of id_train in a step
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate
    stretch: float = Field(4.0, ge=1, le=limits.LARGE)  # the most by which rates rise to go as far as finetune
    warm_start: CountOr0 = 0  # steps of the recipe that give AdamW's first moments; 0: they start at zero


class HookConfig(Section):
    """Options of methods and their hooks."""

    knobs: dict[str, dict[str, Any]] = Field(default_factory=dict)  # METHOD: {KNOB: value}; see --list methods
    exclude: tuple[
        str, ...
    ] = ()  # patterns such as head.*, of what ftp, spd, tpgm, digrap, mixout, gmixout, sift and saft leave alone
    lora_targets: tuple[str, ...] | None = None  # patterns of matrices; null: those of attention


class ComputeConfig(Section):
    """How a step of a fine-tune is computed; what it comes to is the same, but for rounding.

    The precision is that of theta_0's outputs and of every evaluation, too; weights and moments are in float32.
    """

    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    accumulate: Batch = 1  # parts of a batch, one at a time in memory; the loss is that of the whole batch
    clip: Positive | None = None  # longer gradients are shortened to this norm; null: none is
    checkpointing: bool = False  # compute what is inside of a block again as it is differentiated: slower, smaller
    compile: bool = False  # by torch.compile, which takes a minute or more first
    shard: bool = False  # on several ranks each holds a part of weights, gradients and moments (see docs/ranks.md)


class FinetuneConfig(HookConfig, TrainingConfig, ComputeConfig):
    """The final fine-tune; lr and weight decay here are plain fine-tuning's, not the searched ones."""

    method: str = AUTO  # whose model is handed back; auto: the best by ood_val (see `metaft.finetune.handed_back`)
    noise: NotNegative = 1.0  # standard errors of its gain over theta_0 on ood_val that auto takes off
    lr: float = Field(1e-3, ge=limits.RATE, le=limits.LARGE)  # the toy's; 1e-5 for a ViT
    weight_decay: NotNegative = 0.1
    epochs: Count = 4
    batch_size: Batch = 64
    warmup: float = Field(0.1, ge=0, lt=1)  # the share of the steps in which rates rise; then they fall as a cosine
    keep_checks: CountOr0 = 0  # last checks of a training whose weights stay, as checkpoints/NAME.checkSTEP.safetensors


class EvaluationConfig(WorkersConfig):
    """The methods to compare and where they are fitted, images per forward pass, and bootstrap resamples."""

    methods: tuple[str, ...] = (
        *("zero_shot", "linear_probe", "ft", "wise_ft", "autoft", "autoft_wise"),
        *("ft_ood_val", "linear_probe_ood_val", "wise_probe", "dfr", "best_by_ood_val", "oracle"),
    )  # see --list methods
    batch_size: Batch = 512  # images in a forward pass
    bootstrap: int = Field(1000, ge=100, le=limits.STEPS)  # resamples of an interval
    curve: bool = True  # also measure all of WiSE-FT's mixes on the tests, for the report: eleven passes over them
    leave_one_out: bool = False  # also fine-tune without each part of the learned objective, judged by ood_val


class ReportConfig(Section):
    """What is written beside results.json."""

    title: str = "metaft"  # of the page


class Config(Section):
    """All settings. The defaults are the embedded example: the toy CLIP on digits.

    >>> Config(search={"mode": "tpe"}).search.mode
    'tpe'
    """

    seed: int = Field(0, ge=0, lt=2**31)  # of data draws, batches and searches
    device: str = "auto"  # auto: a GPU where there is one; cpu, cuda, cuda:N
    deterministic: Literal[True, False, "warn"] = False  # only kernels that give the same bits each time
    out: Place | None = None  # the run's folder; null: a new one below runs/
    report_to: tuple[str, ...] = ()  # programs of others that show how a run goes: tensorboard, wandb, trackio
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    inner: InnerConfig = InnerConfig()
    search: SearchConfig = SearchConfig()
    hypergrad: HypergradConfig = HypergradConfig()
    tpe: TPEConfig = TPEConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    report: ReportConfig = ReportConfig()

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return _names(value)

    @field_validator("deterministic", mode="before")
    @classmethod
    def _truth_or_warn(cls, value: Any) -> Any:
        if not (isinstance(value, bool) or value == "warn"):
            raise PydanticCustomError("literal_error", "{expected}", {"expected": "'true', 'false', 'warn'"})
        return value

    @property
    def trains_on_ood_val(self) -> bool:
        """Whether parts of ood_val may be trained on: it does not only judge, and an online search has no folds."""
        search = self.search
        return search.use_ood_labels != "judge" and search.outer_data == "ood_val" and self.hypergrad.regime != "online"

    @property
    def mixes(self) -> bool:
        """Whether `alpha` is searched: a hook has its own say of a result, and an online search sees none."""
        return self.objective.mix and self.search.method is None and self.hypergrad.regime != "online"
