"""A rate that falls at milestones, spread evenly over the training.

Source: Cha & Cho 2025, "Hyperparameters in Continual Learning: A Reality Check", TMLR,
arXiv:2403.09066, the authors' code (its grid of learning-rate schedules).
Differs from the paper: the fall is at the fraction itself, not at the epoch that it lies in.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Progress
from vitruvius.space import hyper, one_of
from vitruvius.techniques.schedules.warmed import Warmed


@dataclass(frozen=True)
class Milestones(Warmed):
    """factor^k, with k the milestones that are passed: 2 i / (2 count + 1) of the training, for
    i = 1, ..., count. Two are at 2/5 and 4/5, three at 2/7, 4/7 and 6/7.
    """

    count: int = hyper(3, one_of(2, 3, 4), "milestones")
    factor: float = hyper(0.1, one_of(0.1, 0.3, 0.5), "what the rate is multiplied by at each")

    def check(self) -> None:
        super().check()
        if self.count < 1 or not 0 < self.factor <= 1:
            raise ValueError(
                "Milestones needs a count of at least 1 and a factor above 0 and at most 1; "
                f"got count={self.count}, factor={self.factor}. For a rate that stays, take "
                "Constant()."
            )

    def after(self, now: Progress, fraction: float | None) -> float:
        known = self.known(fraction)
        passed = sum(known >= 2 * i / (2 * self.count + 1) for i in range(1, self.count + 1))
        return self.factor**passed
