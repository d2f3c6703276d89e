"""Root mean squared error.

Source: Gauss 1821, "Theoria combinationis observationum"; standard error by the delta method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, mean_score, numbers_of


@dataclass(frozen=True)
class RootMeanSquaredError(Scored):
    """sqrt(mean((value - target)^2)), in the unit of the target."""

    name: ClassVar[str] = "root_mean_squared_error"
    better: ClassVar[Better] = "lower"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = numbers_of(self, predictions)
        square, influence = mean_score(((values - targets) ** 2).mean(1))
        root = square**0.5
        return root, influence / (2 * root) if root else influence
