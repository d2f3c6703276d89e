"""A straight line, from the whole rate down to a floor.

Source: Defazio et al. 2023, "Optimal Linear Decay Learning Rate Schedules and Further
Refinements", arXiv:2310.07831, section 2.
Differs from the paper: ends at a floor above 0, and is not refined by gradient norms.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Progress
from vitruvius.space import hyper, log_uniform
from vitruvius.techniques.schedules.warmed import Warmed


@dataclass(frozen=True)
class Linear(Warmed):
    """1 - (1 - floor) t at the fraction t of what follows the warmup."""

    floor: float = hyper(0.01, log_uniform(0.001, 0.3), "last factor of the rate")

    def check(self) -> None:
        super().check()
        self.need_floor(self.floor)

    def after(self, now: Progress, fraction: float | None) -> float:
        return 1 - (1 - self.floor) * self.known(fraction)
