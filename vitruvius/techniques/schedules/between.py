"""A number that goes from one value to another.

Source: Wettig et al. 2023, "Should You Mask 15% in Masked Language Modeling?", arXiv:2202.08005,
on how much the masking rate matters; decaying it: Ankner et al. 2024, "Dynamic Masking Rate
Schedules for MLM Pretraining", arXiv:2305.15096, section 3.
Differs from the paper: goes along any schedule, not a straight line alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Progress, Schedule
from vitruvius.space import hyper, one_of
from vitruvius.techniques.schedules.cosine import Cosine
from vitruvius.techniques.schedules.linear import Linear


@dataclass(frozen=True)
class Between(Schedule[float]):
    """last + (first - last) f, where f is the factor that ``along`` gives: masking rates, weights.

    ``along`` ends at its floor, so the value ends that share short of ``last``.
    """

    first: float = hyper(0.3, one_of(0.15, 0.3, 0.4), "value where the factor is 1")
    last: float = hyper(0.15, one_of(0.05, 0.15, 0.3), "value where the factor would be 0")
    along: Schedule[float] = hyper(
        Linear(floor=0.001),
        one_of(Linear(floor=0.001), Cosine(floor=0.001)),
        "the way from first to last",
    )

    def value(self, now: Progress) -> float:
        return self.last + (self.first - self.last) * self.along.value(now)

    def horizon_free(self, now: Progress) -> bool:
        return self.along.horizon_free(now)
