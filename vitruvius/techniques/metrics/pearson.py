"""Linear correlation of values and targets.

Source: Pearson 1896, "Mathematical Contributions to the Theory of Evolution III", Phil. Trans. A
187; its influence after Devlin, Gnanadesikan & Kettenring 1975, Biometrika 62.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, numbers_of


@dataclass(frozen=True)
class Pearson(Scored):
    """cov(values, targets) / (std std), from -1 to 1; 0 where either never changes.

    Of several numbers of an item, the mean of their correlations.
    """

    name: ClassVar[str] = "pearson"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = numbers_of(self, predictions)
        found = [correlation(x, y) for x, y in zip(values.T, targets.T, strict=True)]
        return float(np.mean([r for r, _ in found])), np.mean([i for _, i in found], axis=0)


def correlation(
    x: Float64[np.ndarray, " N"], y: Float64[np.ndarray, " N"]
) -> tuple[float, Float64[np.ndarray, " N"]]:
    """r, and its influences z_x z_y - r (z_x^2 + z_y^2) / 2."""
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x * x).mean() * (y * y).mean()))
    if not spread > 0:
        return 0.0, np.zeros(len(x))
    r = float((x * y).mean() / spread)
    return r, x * y / spread - r * (x * x / (x * x).mean() + y * y / (y * y).mean()) / 2
