"""The sections of the search: what it minimises, how long it goes on, and what its solvers do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from metaft.config import limits
from metaft.config.paths import Place
from metaft.config.section import Count, CountOr0, Images, NotNegative, Parts, Positive, Section, WorkersConfig
from metaft.search.registry import modes


class FinalChoice(Section):
    """A search's last choice: the recipe and the best trials are evaluated on fresh seeds; the best mean wins."""

    candidates: Count = 16  # the most trials that are evaluated again, beside the recipe
    final_share: float = Field(0.4, gt=0, lt=1)  # the share of the budget for that


class OuterConfig(Section):
    """What the search minimises, and on which images."""

    metric: str = "auto"  # what checkpoints, mixes and the model handed back are chosen by; auto: the data set's
    outer_loss: str = "auto"  # auto: what the metric is sought by; for accuracy, ce_calibrated
    outer_data: Literal["ood_val", "id_val"] = "ood_val"  # what judges an inner run
    use_ood_labels: Literal["judge", "train", "auto"] = "auto"  # judge: AutoFT's protocol; auto: train where it splits
    folds: int = Field(2, ge=2, le=limits.PARTS)  # parts of ood_val: each judges what is trained on the others
    outer_domains: Literal["pooled", "mean", "worst"] = "pooled"  # over the named domains of the outer set
    outer_batch_size: Images = 150  # at most; random parts show how much the choice of images matters
    id_drop_max: float | None = Field(0.03, ge=0, le=1)  # how far id_val accuracy may be below plain fine-tuning's


class SearchConfig(FinalChoice, OuterConfig, WorkersConfig):
    """How long to search, where, and what counts as better. The first budget reached ends the search."""

    mode: str | None = None  # hypergrad, or a sampler: tpe, random, optuna-tpe, optuna-gp, optuna-qmc
    trials: Count | None = None  # evaluations; null: as many as the other budgets hold
    seconds: float | None = Field(60.0, gt=0, le=limits.SECONDS)  # of the search alone
    step_equivalents: float | None = Field(2000.0, gt=0, le=limits.TOTAL)  # cost in plain inner steps
    init: Literal["recipe", "tpe"] = "recipe"  # where hypergrad begins; tpe: at the best trial of a TPE run first
    init_share: float = Field(0.3, gt=0, lt=1)  # the share of the budget for that TPE
    method: str | None = None  # a hook in every inner step and in autoft's fine-tune; its real knobs are searched too
    stop_hopeless: bool = False  # stop trials above the median outer loss of the others at half time
    warm_start: Place | None = None  # the folder of an earlier run of the same space, to learn from

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

    storage: str = "auto"  # keep: graphs; replay: states; segments: every sqrt(T)-th; auto: what memory holds
    memory: float | None = Field(None, gt=0, le=limits.LARGE)  # GiB that `auto` may use; null: 80 % of what is free
    offload: bool = False  # keep states in host memory between the sweeps


class HypergradConfig(DescentConfig, StorageConfig):
    """The gradient solver, and how hypergradients are computed."""

    estimator: str = "unroll"  # see --list estimators; auto asks for free memory unless `memory` is set
    last: Count = 5  # steps that `truncated` differentiates
    linear_solver: str = "cg"  # of `implicit`: cg or neumann
    iterations: Count = 10  # of the linear solver
    damping: NotNegative = 0.0  # added to the Hessian's diagonal
    scale: Positive = 1.0  # of Neumann's series
    sides: Literal["auto", "both", "one"] = "both"  # of theta, on which `differences` takes gradients
    spacing: float | None = Field(None, ge=limits.SMALL, le=limits.WIDEST)  # in lengths of theta; null: found
    check_every: CountOr0 = 0  # compare every n-th hypergradient with a slope by forward mode; 0: never
    regime: Literal["restart", "online"] = "restart"  # online: the window slides along the fine-tune itself
    share: Positive = 0.05  # the share of the fine-tune's cost that an online search may add
    starts: Parts = 4  # descents, each begun as another settles: from the best known point, then around it


class TPEConfig(Section):
    """The Parzen-estimator sampler."""

    startup: Count = 10  # trials before the model proposes
    candidates: Count | None = None  # draws for each proposal; null: 32, or 8 if not multivariate
    multivariate: bool = True  # one model of all dimensions; false: one for each
    weights: Literal["improvement", "uniform"] = "improvement"  # how good trials are weighted in the model
