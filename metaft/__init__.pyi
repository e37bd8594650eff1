from .api import Fitted, compare, evaluate, finetune, search
from .config import Config
from .inner import Differences, Forward, Implicit, Truncated, Unroll, differentiate
from .objective import Objective, load_objective
from .optim import FTPAdamW
from .results import Results, SearchResult
from .search.tpe.tpe import TPE
from .space import Categorical, Float, Int, Space

__all__ = [
    "TPE",
    "Categorical",
    "Config",
    "Differences",
    "FTPAdamW",
    "Fitted",
    "Float",
    "Forward",
    "Implicit",
    "Int",
    "Objective",
    "Results",
    "SearchResult",
    "Space",
    "Truncated",
    "Unroll",
    "compare",
    "differentiate",
    "evaluate",
    "finetune",
    "load_objective",
    "search",
]

__version__: str
