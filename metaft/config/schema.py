"""The settings, by sections: typed, frozen, with their defaults.

A section is the very object that the code takes, or inherits from such objects: a descent takes a `DescentConfig`, and
the section `hypergrad` is one. So every default is written once. Names that registries hold are checked by
`metaft.build.check`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from metaft.config import limits
from metaft.config.paths import Named, Place
from metaft.objective.heads import AUTO
from metaft.search.registry import modes

Count = Annotated[int, Field(ge=1, le=limits.STEPS)]
CountOr0 = Annotated[int, Field(ge=0, le=limits.STEPS)]
Images = Annotated[int, Field(ge=1, le=limits.IMAGES)]
Batch = Annotated[int, Field(ge=1, le=limits.BATCH)]
Parts = Annotated[int, Field(ge=1, le=limits.PARTS)]
Positive = Annotated[float, Field(ge=limits.SMALL, le=limits.LARGE)]
NotNegative = Annotated[float, Field(ge=0, le=limits.LARGE)]
Share = Annotated[float, Field(ge=0, lt=1)]
MOVABLE = ("device", "out")  # settings that a run may have others of when it goes on


class Section(BaseModel):
    """Settings that are checked when they are made, and then do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where images come from. `options` belongs to the format and is checked by it.

    `corruptions` is for data without labelled OOD images. Images held out of id_train, each corrupted in one of these
    ways at the model's size, are then `ood_val`, and each way is a domain; an `ood_val` that the data has is left out.
    """

    format: str = "digits"
    root: Place | None = None
    classnames: Place | None = None  # a file: one name a line in the order of the class folders, or `folder = name`
    templates: Named | None = None  # simple | openai | a file with one template a line; None: the format's own
    on_unreadable: Literal["stop", "skip", "late"] = "stop"  # late: as stop, but no file is tried before it is used
    ground: str = "white"  # the colour beneath transparent pictures, by name or as #rrggbb
    cache_gib: NotNegative = 64.0  # of decoded pictures on disk that memory does not hold, all splits together
    shots: Images | None = None  # how many images of each class of id_train are used, drawn by the seed
    exif_rotation: bool = False  # turn pictures as their EXIF orientation says; open_clip does not
    corruptions: tuple[str, ...] = ()  # `all`, or names of ImageNet-C's: see above
    severity: int = Field(5, ge=1, le=5)  # of the corruptions
    corrupted: Images | None = None  # images held out of id_train for them; null: a tenth, at most 1000
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("corruptions", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

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

    name: Named = "toy-clip"
    pretrained: Named | None = None  # a tag, a file or `random`; None: the toy's own weights
    resize: bool = False  # interpolate positional embeddings of a file trained at another image size or text length
    freeze: tuple[str, ...] = ("*token_embedding*",)


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
    bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    recipe: dict[str, float] = Field(default_factory=dict)

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


class TrainingConfig(Section):
    """What the inner loop and fine-tunes do to training images."""

    augment: Literal["none", "crop", "crop_flip"] = (
        "none"  # random crops as open_clip's (see `metaft.training.augment`)
    )


class InnerConfig(StepConfig, TrainingConfig):
    """The inner loop: its length, its batches and its learning rates."""

    steps: Count = 10
    batch_size: Batch = 32
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate
    stretch: float = Field(4.0, ge=1, le=limits.LARGE)  # the most by which rates rise to go as far as finetune
    warm_start: CountOr0 = 0  # steps of the recipe that give AdamW's first moments; 0: they start at zero


class FinalChoice(Section):
    """A search's last choice: the recipe and the best trials are evaluated on fresh seeds; the best mean wins."""

    candidates: Count = 16  # the most trials that are evaluated again, beside the recipe
    final_share: float = Field(0.4, gt=0, lt=1)  # the share of the budget for that


class OuterConfig(Section):
    """What the search minimises, and on which images."""

    metric: str = "auto"  # what checkpoints, mixes and the model handed back are chosen by; auto: the data set's
    outer_loss: str = "auto"  # auto: what the metric is sought by; for accuracy, ce_calibrated
    outer_data: Literal["ood_val", "id_val"] = "ood_val"
    use_ood_labels: Literal["judge", "train", "auto"] = "auto"  # judge: AutoFT's protocol; auto: train where it splits
    folds: int = Field(2, ge=2, le=limits.PARTS)  # parts of ood_val: each judges what is trained on the others
    outer_domains: Literal["pooled", "mean", "worst"] = "pooled"  # over the named domains of the outer set
    outer_batch_size: Images = 150  # at most; random parts show how much the choice of images matters
    id_drop_max: float | None = Field(0.03, ge=0, le=1)  # how far id_val accuracy may be below plain fine-tuning's


class SearchConfig(FinalChoice, OuterConfig):
    """How long to search, where, and what counts as better. The first budget reached ends the search."""

    mode: str | None = None  # hypergrad, or a sampler of the registry: tpe, random
    trials: Count | None = None
    seconds: float | None = Field(60.0, gt=0, le=limits.SECONDS)
    step_equivalents: float | None = Field(2000.0, gt=0, le=limits.TOTAL)
    init: Literal["recipe", "tpe"] = "recipe"  # where hypergrad begins; tpe: at the best trial of a TPE run first
    init_share: float = Field(0.3, gt=0, lt=1)  # the share of the budget for that TPE
    method: str | None = None  # a hook in every inner step and in autoft's fine-tune; its real knobs are searched too
    executor: str = "serial"
    workers: Parts = 1  # of the executor; each builds its own model
    stop_hopeless: bool = False  # stop trials above the median outer loss of the others at half time
    warm_start: Place | None = None  # the folder of an earlier run of the same space, whose trials tpe learns from

    @field_validator("mode")
    @classmethod
    def _known_mode(cls, value: str | None) -> str | None:
        if value is not None and value not in modes():
            expected = ", ".join(f"'{mode}'" for mode in modes())
            raise PydanticCustomError("literal_error", "{expected}", {"expected": expected})
        return value

    @model_validator(mode="after")
    def _ends(self) -> SearchConfig:
        if self.trials is None and self.seconds is None and self.step_equivalents is None:
            raise ValueError("nothing ends the search: trials, seconds and step_equivalents are all null")
        return self


class DescentConfig(Section):
    """How a descent in the unit cube moves on hypergradients."""

    lr: float = Field(0.15, ge=limits.SMALL, le=1)  # the most that a coordinate moves in the first outer step
    decay: Positive = 10.0  # outer steps t shrink it as 1 / sqrt(1 + t / decay)
    momentum: float = Field(0.8, ge=0, lt=1)  # the share of the last mean hypergradient that is kept
    average: Parts = 1  # hypergradients of different inner seeds per outer step
    clip: Positive = 1.0  # longer hypergradients are shortened to this length
    explosion: Positive = 100.0  # longer hypergradients are discarded


class StorageConfig(Section):
    """What an unrolled inner loop keeps for its reverse sweep."""

    storage: str = "auto"
    memory: float | None = Field(None, gt=0, le=limits.LARGE)  # GiB that `auto` may use; null: 80 % of what is free
    offload: bool = False  # keep states in host memory between the sweeps


class HypergradConfig(DescentConfig, StorageConfig):
    """The gradient solver, and how hypergradients are computed."""

    estimator: str = "unroll"
    last: Count = 5  # steps that `truncated` differentiates
    linear_solver: str = "cg"  # of `implicit`, with its iterations, damping and Neumann's scale
    iterations: Count = 10
    damping: NotNegative = 0.0
    scale: Positive = 1.0
    sides: Literal["auto", "both", "one"] = "both"  # of theta, on which `differences` takes gradients
    spacing: float | None = Field(None, ge=limits.SMALL, le=1)  # from theta, as a share of its length; null: found once
    check_every: CountOr0 = 0  # compare every n-th hypergradient with a slope by forward mode; 0: never
    regime: Literal["restart", "online"] = "restart"  # online: the window slides along the fine-tune itself
    share: Positive = 0.05  # the share of the fine-tune's cost that an online search may add
    starts: Parts = 4  # descents, each begun as the last settles: from the recipe, then around it


class TPEConfig(Section):
    """The Parzen-estimator sampler."""

    startup: Count = 10  # trials before the model proposes
    candidates: Count | None = None  # draws for each proposal; null: 32, or 8 if not multivariate
    multivariate: bool = True  # one model of all dimensions; false: one for each
    weights: Literal["improvement", "uniform"] = "improvement"  # how good trials are weighted in the model


class HookConfig(Section):
    """Options of methods and their hooks."""

    knobs: dict[str, dict[str, Any]] = Field(default_factory=dict)  # METHOD: {KNOB: value}; see --list methods
    exclude: tuple[str, ...] = ()  # patterns of parameters that ftp, spd and tpgm leave alone, such as head.*
    lora_targets: tuple[str, ...] | None = None  # patterns of matrices; null: those of attention


class FinetuneConfig(HookConfig, TrainingConfig):
    """The final fine-tune; lr and weight decay here are plain fine-tuning's, not the searched ones."""

    method: str = AUTO  # whose model is handed back; auto: the best by ood_val (see `metaft.finetune.handed_back`)
    noise: NotNegative = 1.0  # standard errors of its gain over theta_0 on ood_val that auto takes off
    lr: float = Field(1e-3, ge=limits.RATE, le=limits.LARGE)
    weight_decay: NotNegative = 0.1
    epochs: Count = 4
    batch_size: Batch = 64
    warmup: float = Field(0.1, ge=0, lt=1)


class EvaluationConfig(Section):
    """The methods to compare, images per forward pass, and bootstrap resamples."""

    methods: tuple[str, ...] = (
        *("zero_shot", "linear_probe", "ft", "wise_ft", "autoft", "autoft_wise"),
        *("ft_ood_val", "linear_probe_ood_val", "wise_probe", "dfr", "best_by_ood_val", "oracle"),
    )
    batch_size: Batch = 512
    bootstrap: int = Field(1000, ge=100, le=limits.STEPS)


class ReportConfig(Section):
    """What is written beside results.json."""

    title: str = "metaft"


class Config(Section):
    """All settings. The defaults are the embedded example: the toy CLIP on digits.

    >>> Config(search={"mode": "tpe"}).search.mode
    'tpe'
    """

    seed: int = Field(0, ge=0, lt=2**31)
    device: str = "auto"
    deterministic: Literal[True, False, "warn"] = False  # only kernels that give the same bits each time
    out: Place | None = None
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
