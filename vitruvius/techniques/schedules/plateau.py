"""A rate that falls when validation no longer improves.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 6: the rate is
multiplied by ``rate_mult`` after ``rate_patience`` epochs without improvement.
Differs from the paper: the smallest rate is a factor of the first, not an absolute 1e-9; the wait
starts anew after each fall.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Progress
from vitruvius.space import hyper, integers, log_uniform
from vitruvius.techniques.schedules.warmed import Warmed


@dataclass(frozen=True)
class Plateau(Warmed):
    """max(floor, factor^k), with k the times that ``patience`` evaluations brought no new best."""

    factor: float = hyper(0.5, log_uniform(0.01, 0.9), "what the rate is multiplied by")
    patience: int = hyper(4, integers(1, 32, log=True), "evaluations without a new best")
    floor: float = hyper(0.001, log_uniform(1e-6, 0.1), "smallest factor of the rate")

    def check(self) -> None:
        super().check()
        self.need_floor(self.floor)
        if not 0 < self.factor < 1:
            raise ValueError(
                f"Plateau.factor must lie between 0 and 1; got {self.factor}. "
                "For a rate that never falls, take Constant()."
            )
        if self.patience < 1:
            raise ValueError(
                f"Plateau.patience must be at least 1 evaluation; got {self.patience}."
            )

    def after(self, now: Progress, fraction: float | None) -> float:
        return max(self.floor, self.factor ** falls(now.history, self.patience))

    def horizon_free(self, now: Progress) -> bool:
        return not self.warmup


def falls(history: tuple[float, ...], patience: int) -> int:
    """How often ``patience`` scores in a row brought no new best. Higher is better."""
    best, waited, fallen = float("-inf"), 0, 0
    for score in history:
        if score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited == patience:
            fallen, waited = fallen + 1, 0
    return fallen
