"""The largest and smallest numbers that settings and objectives may hold.

They are far from what anyone trains with, and within what a float32, or a computer, can hold.
"""

from __future__ import annotations

from metaft.names import ALPHA

STEPS = 10**7  # of training, trials, resamples: what is done one after the other
IMAGES = 10**9  # of a split
DRAWN = 10**6  # of a split of an embedded suite, which lies in memory
BATCH = 10**6  # images in a batch
PARTS = 10**4  # of anything that is held at once: folds, workers, descents
SECONDS = 1e9
TOTAL = 1e15  # step equivalents
LARGE = 1e30  # of numbers without a unit: a float32 holds it, and whoever asks for it sees what diverges
SMALL = 1e-12  # of those that are divided by
WIDEST = 0.3  # of spacings from theta, as shares of its length
RATE = 1e-15  # of learning rates that are not 0


def admits(name: str, value: object) -> bool:
    """Whether a learning rate, a weight decay, a share or a weight, by its name without a group, can have a value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = _range(name)
    return value == 0 or low <= value <= high


def allowed(name: str) -> str:
    """What a learning rate, a weight decay, a share or a weight can be, in words."""
    low, high = _range(name)
    return f"0, or {low:g} to {high:g}" if low else f"0 to {high:g}"


def _range(name: str) -> tuple[float, float]:
    """The smallest value above 0, and the largest."""
    return {"lr": (RATE, LARGE), ALPHA: (0.0, 1.0)}.get(name, (0.0, LARGE))
