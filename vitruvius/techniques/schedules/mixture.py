"""Shares of several sources of data.

Source: Blakeney et al. 2024, "Does your data spark joy? Performance gains from domain upsampling
at the end of training", arXiv:2406.03476, section 3.
Differs from the paper: the shares may also go over from the first to the last little by little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitruvius.contracts import Progress, Schedule
from vitruvius.space import hyper
from vitruvius.techniques.schedules.constant import Constant


@dataclass(frozen=True)
class Mixture(Schedule[tuple[float, ...]]):
    """f first + (1 - f) last, where f is the factor that ``along`` gives: shares that sum to 1.

    Weights need not sum to 1; they are divided by their sum. With ``along=Constant()`` the first
    shares stay. For a switch at the end of a training, put two into ``Phases``.
    """

    first: tuple[float, ...] = hyper(..., doc="weight of each source where the factor is 1")
    last: tuple[float, ...] | None = hyper(None, doc="where it would be 0; None: as the first")
    along: Schedule[float] = hyper(Constant(), doc="the way from first to last")

    @classmethod
    def example(cls) -> Mixture:
        return cls((3.0, 1.0))

    def check(self) -> None:
        for name, weights in (("first", self.first), ("last", self.last)):
            if weights is None:
                continue
            if not all(w >= 0 and math.isfinite(w) for w in weights) or not sum(weights) > 0:
                raise ValueError(
                    f"Mixture.{name} holds weights of at least 0, one of them above 0; "
                    f"got {weights}."
                )
        if self.last is not None and len(self.last) != len(self.first):
            raise ValueError(
                f"Mixture.last has a weight for each of the {len(self.first)} sources of first; "
                f"got {len(self.last)}."
            )

    def value(self, now: Progress) -> tuple[float, ...]:
        first = shares(self.first)
        if self.last is None:
            return first
        factor = self.along.value(now)
        mixed = zip(first, shares(self.last), strict=True)
        return shares(tuple(factor * a + (1 - factor) * b for a, b in mixed))

    def horizon_free(self, now: Progress) -> bool:
        return self.last is None or self.along.horizon_free(now)


def shares(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Weights divided by their sum: a point of the simplex."""
    total = math.fsum(weights)
    return tuple(w / total for w in weights)
