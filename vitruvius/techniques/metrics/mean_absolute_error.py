"""Mean absolute error.

Source: Laplace 1774; its standard error is that of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, mean_score, numbers_of


@dataclass(frozen=True)
class MeanAbsoluteError(Scored):
    """mean(|value - target|), in the unit of the target."""

    name: ClassVar[str] = "mean_absolute_error"
    better: ClassVar[Better] = "lower"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = numbers_of(self, predictions)
        return mean_score(np.abs(values - targets).mean(1))
