"""The search space by its earlier name; it lives in `metaft.space`."""

from metaft.space import Categorical, Dimension, Float, Int, Space

__all__ = ["Categorical", "Dimension", "Float", "Int", "Space"]
