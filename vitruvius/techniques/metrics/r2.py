"""Share of the variance of the target that is explained.

Source: Wright 1921, "Correlation and causation", Journal of Agricultural Research 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, numbers_of


@dataclass(frozen=True)
class R2(Scored):
    """1 - mean((value - target)^2) / variance(target): 1 is perfect, 0 no better than the mean.

    Of several numbers the mean. A target that never changes gives 1 where it is met, else 0.
    """

    name: ClassVar[str] = "r2"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = numbers_of(self, predictions)
        error = (values - targets) ** 2
        spread = (targets - targets.mean(0)) ** 2
        varies = spread.mean(0) > 0
        unit = np.where(varies, spread.mean(0), 1.0)
        missed = np.where(varies, error.mean(0) / unit, error.mean(0) > 0)
        influence = np.where(varies, (missed * spread - error) / unit, 0.0)
        return float(1 - missed.mean()), influence.mean(1)
