"""Correlation of ranks.

Source: Spearman 1904, "The Proof and Measurement of Association between Two Things"; its influence
after Croux & Dehon 2010, "Influence functions of the Spearman and Kendall correlation measures",
Statistical Methods & Applications 19, section 3.
Differs from the paper: equal values share the mean of their ranks, and the influence counts that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.techniques.metrics.scored import Scored, numbers_of

Numbers = Float64[np.ndarray, " N"]


@dataclass(frozen=True)
class Spearman(Scored):
    """Correlation of the ranks of values and targets, from -1 to 1; 0 where either never changes.

    Of several numbers of an item, the mean of their correlations.
    """

    name: ClassVar[str] = "spearman"
    better: ClassVar[Better] = "higher"

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = numbers_of(self, predictions)
        found = [rank_correlation(x, y) for x, y in zip(values.T, targets.T, strict=True)]
        return float(np.mean([r for r, _ in found])), np.mean([i for _, i in found], axis=0)


def rank_correlation(x: Numbers, y: Numbers) -> tuple[float, Numbers]:
    """rho = C / sqrt(V W) with C = mean(f g), V = mean(f^2), W = mean(g^2), and its influences.

    f and g are the places of x and y from -1/2 to 1/2. An item moves C by its own product and by
    shifting the places of all items above it.
    """
    f, g = places(x), places(y)
    both, of_x, of_y = (f * g).mean(), (f * f).mean(), (g * g).mean()
    spread = float(np.sqrt(of_x * of_y))
    if not spread > 0:
        return 0.0, np.zeros(len(x))
    rho = float(both / spread)
    on_both = f * g + above(x, g) - (f * g).mean() + above(y, f) - (f * g).mean() - both
    on_x = f * f + 2 * (above(x, f) - of_x) - of_x
    on_y = g * g + 2 * (above(y, g) - of_y) - of_y
    return rho, on_both / spread - rho / 2 * (on_x / of_x + on_y / of_y)


def places(x: Numbers) -> Numbers:
    """Share of the items below each, equal ones counting half, less 1/2: their mean is 0."""
    ordered = np.sort(x)
    below = np.searchsorted(ordered, x, "left") + np.searchsorted(ordered, x, "right")
    return below / (2 * len(x)) - 0.5


def above(x: Numbers, weight: Numbers) -> Numbers:
    """1/N of the sum of the weights of the items above each, equal ones counting half."""
    order = np.argsort(x, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weight[order])])
    ordered = x[order]
    to_left = sums[np.searchsorted(ordered, x, "left")]
    to_right = sums[np.searchsorted(ordered, x, "right")]
    return (sums[-1] - (to_left + to_right) / 2) / len(x)
