"""Harmonic mean of precision and recall, in which every class counts the same.

Source: van Rijsbergen 1979, "Information Retrieval", chapter 7; its mean over classes after Lewis
et al. 1996, "Training Algorithms for Linear Text Classifiers", SIGIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, hits_of


@dataclass(frozen=True)
class MacroF1(Scored):
    """Mean of 2 hits / (said + true) over the classes that are said or true, from 0 to 1."""

    name: ClassVar[str] = "macro_f1"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        said, true = hits_of(self, predictions)
        occurs = (said | true).any(0)
        said, true = said[:, occurs], true[:, occurs]
        either = said.mean(0) + true.mean(0)
        f1 = 2 * (said & true).mean(0) / either
        influence = (2 * (said & true) - f1 * (said.astype(np.float64) + true)) / either
        return float(f1.mean()), influence.mean(1)
