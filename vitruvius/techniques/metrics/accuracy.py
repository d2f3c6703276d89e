"""Share of items whose likeliest class is right.

Source: Fisher 1936, "The use of multiple measurements in taxonomic problems"; standard error of a
binomial share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, classes_of, mean_score


@dataclass(frozen=True)
class Accuracy(Scored):
    """mean(argmax p = target), from 0 to 1. Of equal probabilities the first class counts."""

    name: ClassVar[str] = "accuracy"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = classes_of(self, predictions)
        return mean_score((values.argmax(1) == targets).astype(np.float64))
