"""Half a cosine, from the whole rate down to a floor.

Source: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts",
arXiv:1608.03983, equation 5.
Differs from the paper: no restarts; the floor is above 0, so that the last steps still train.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitruvius.contracts import Progress
from vitruvius.space import hyper, log_uniform
from vitruvius.techniques.schedules.warmed import Warmed


@dataclass(frozen=True)
class Cosine(Warmed):
    """floor + (1 - floor) (1 + cos(pi t)) / 2 at the fraction t of what follows the warmup."""

    floor: float = hyper(0.01, log_uniform(0.001, 0.3), "last factor of the rate")

    def check(self) -> None:
        super().check()
        self.need_floor(self.floor)

    def after(self, now: Progress, fraction: float | None) -> float:
        down = (1 + math.cos(math.pi * self.known(fraction))) / 2
        return self.floor + (1 - self.floor) * down
