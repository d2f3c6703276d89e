"""Mean surprise at the right class.

Source: Good 1952, "Rational Decisions", Journal of the Royal Statistical Society B 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, classes_of, mean_score


@dataclass(frozen=True)
class CrossEntropy(Scored):
    """mean(-log p[target]) in nats. Probabilities below 2.2e-16 count as that."""

    name: ClassVar[str] = "log_loss"
    better: ClassVar[Better] = "lower"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = classes_of(self, predictions)
        right = values[np.arange(len(values)), targets]
        return mean_score(-np.log(np.clip(right, np.finfo(np.float64).eps, 1.0)))
