"""Settings: their sections, and how they are read."""

from metaft.config.read import dump, flatten, load
from metaft.config.schema import Config

__all__ = ["Config", "dump", "flatten", "load"]
