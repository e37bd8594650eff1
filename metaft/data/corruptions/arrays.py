"""What corruptions take and return."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]  # [S, S, 3], colours from 0 to 1; those returned may lie beyond
Layer = NDArray[np.float64]  # [S, S]
