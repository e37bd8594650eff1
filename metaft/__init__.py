"""metaft: robust fine-tuning of CLIP models by learning the fine-tuning objective."""

__version__ = "0.1.0"
