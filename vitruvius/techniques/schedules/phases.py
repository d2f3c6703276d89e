"""One value after another.

Source: Blakeney et al. 2024, "Does your data spark joy? Performance gains from domain upsampling
at the end of training", arXiv:2406.03476, section 3.
Differs from the paper: any number of phases, of values of any type.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from vitruvius.contracts import Progress, Schedule
from vitruvius.space import hyper
from vitruvius.techniques.schedules.mixture import Mixture


@dataclass(frozen=True)
class Phases(Schedule[Any]):
    """The first value up to the first switch, then the second, and so on: of any type.

    A value may be a number, shares of sources, a node, or a schedule, which sees the whole
    training and not its phase alone.
    """

    values: tuple[Any, ...] = hyper(..., doc="one more than switches; a schedule or what it gives")
    switches: tuple[float, ...] = hyper((0.8,), doc="shares of the horizon, rising")

    @classmethod
    def example(cls) -> Phases:
        return cls((Mixture((3.0, 1.0)), Mixture((1.0, 1.0))))

    def check(self) -> None:
        if len(self.values) != len(self.switches) + 1:
            raise ValueError(
                f"Phases.values needs one more than there are switches; got {len(self.values)} "
                f"values and {len(self.switches)} switches."
            )
        bounds = (0.0, *self.switches, 1.0)
        if not all(a < b for a, b in itertools.pairwise(bounds)):
            raise ValueError(
                "Phases.switches are rising shares of the training, between 0 and 1; "
                f"got {self.switches}."
            )

    def value(self, now: Progress) -> Any:
        chosen = self.values[self.phase(now)]
        return chosen.value(now) if isinstance(chosen, Schedule) else chosen

    def horizon_free(self, now: Progress) -> bool:
        first = self.values[0]
        return self.phase(now) == 0 and (not isinstance(first, Schedule) or first.horizon_free(now))

    def phase(self, now: Progress) -> int:
        """Which value it is; with an open end the first."""
        return 0 if now.fraction is None else sum(now.fraction >= s for s in self.switches)
