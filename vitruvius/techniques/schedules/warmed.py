"""Linear warmup, which every schedule of ours can begin with.

Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2.
Differs from the paper: its length is a share of the horizon, not five epochs, and it starts at
a hundredth of the rate.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from vitruvius.contracts import Progress, Schedule
from vitruvius.space import hyper, one_of

START = 0.01


@dataclass(frozen=True)
class Warmed(Schedule[float]):
    """A factor in (0, 1] that first rises in a straight line, then follows ``after``."""

    warmup: float = hyper(
        0.0, one_of(0.0, 0.02, 0.05, 0.1), "share of the horizon in which the rate rises"
    )

    def check(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(
                f"{type(self).__name__}.warmup is a share of the training, from 0 to below 1; "
                f"got {self.warmup}. For none, take 0."
            )

    def value(self, now: Progress) -> float:
        if not self.warmup:
            return self.after(now, now.fraction)
        fraction = self.known(now.fraction)
        if fraction < self.warmup:
            return START + (1 - START) * fraction / self.warmup
        return self.after(now, (fraction - self.warmup) / (1 - self.warmup))

    def known(self, fraction: float | None) -> float:
        """The fraction of the horizon. Raises where the end is open."""
        if fraction is None:
            raise ValueError(
                f"{self!r} needs to know when training ends, but the end is open. "
                "Take Constant() or Plateau() without warmup, or set a number of epochs."
            )
        return min(fraction, 1.0)

    @abstractmethod
    def after(self, now: Progress, fraction: float | None) -> float:
        """The factor at a fraction of what follows the warmup."""

    def need_floor(self, floor: float) -> None:
        """Raise ValueError where ``floor`` is no factor."""
        if not 0 < floor <= 1:
            raise ValueError(
                f"{type(self).__name__}.floor is a factor of the learning rate above 0 and at "
                f"most 1; got {floor}."
            )
