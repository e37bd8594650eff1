"""metaft: robust fine-tuning of CLIP models by learning the fine-tuning objective."""

import sys

try:
    import lazy_loader
except ModuleNotFoundError as error:  # what a clone that was not installed meets first
    told = f"metaft's packages are not in {sys.executable}; pip install -e . in the clone puts them there"
    raise ModuleNotFoundError(told, name=error.name) from None

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
