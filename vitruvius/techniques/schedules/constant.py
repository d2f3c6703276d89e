"""Constant rate.

Source: Robbins & Monro 1951, "A Stochastic Approximation Method", doi:10.1214/aoms/1177729586.
Differs from the paper: the rate does not decay at all, which leaves a noise of its own size.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Progress
from vitruvius.techniques.schedules.warmed import Warmed


@dataclass(frozen=True)
class Constant(Warmed):
    """The whole rate after the warmup: factor 1."""

    def after(self, now: Progress, fraction: float | None) -> float:
        return 1.0

    def horizon_free(self, now: Progress) -> bool:
        return not self.warmup
