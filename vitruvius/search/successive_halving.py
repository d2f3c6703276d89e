"""Successive halving, rung by rung.

Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", arXiv:1502.07943, section 3; as a bracket in Li et al. 2018, "Hyperband",
arXiv:1603.06560, section 3. Differs from the sources: new points come from any searcher; bracket
follows bracket until the budget ends; while a rung waits for its last point, workers that are free
begin the next bracket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitruvius.search.halving import Halving, HalvingSearch
from vitruvius.search.history import Better
from vitruvius.search.searcher import Search
from vitruvius.space import Point, canonical, hyper, one_of


@dataclass(frozen=True)
class SuccessiveHalving(Halving):
    """Begin ``configurations`` points; when all of a rung have ended, the best of them go on.

    Of a rung of n points ``floor(n / eta)`` are promoted, at least one. With 9 points, eta = 3 and
    shares 1/9, 1/3 and 1 a bracket has 9 + 3 + 1 = 13 runs and takes 3 whole trainings of work, for
    a promotion continues what was begun.
    """

    configurations: int = hyper(9, one_of(9, 27, 81), "points that begin a bracket")

    def check(self) -> None:
        super().check()
        fewest = self.eta ** (len(self.shares) - 1)
        if self.configurations < fewest:
            raise ValueError(
                f"SuccessiveHalving.configurations must be at least {fewest}, so that one of them "
                f"is trained to the end; got {self.configurations}. Give more, or a larger least."
            )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _SuccessiveHalving(self, space, better)


class _SuccessiveHalving(HalvingSearch):
    def __init__(self, searcher: SuccessiveHalving, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.size = self.group = searcher.configurations
        self.brackets: list[dict[str, None]] = []  # points, in the order in which they began
        self.of: dict[str, int] = {}  # the bracket of each point
        self.over: set[int] = set()  # brackets in which nothing is left to do

    def started(self, trial: int, point: Point) -> None:
        super().started(trial, point)
        key = canonical(point)
        measuring = self.curves is not None and self.fidelity is None
        if self.rung(self.shares[trial]) == 0 and key not in self.of and not measuring:
            room = (i for i, held in enumerate(self.brackets) if len(held) < self.size)
            number = next(room, len(self.brackets))
            if number == len(self.brackets):
                self.brackets.append({})
            self.brackets[number][key] = None
            self.of[key] = number

    def dropped(self, trial: int, point: Point) -> None:
        super().dropped(trial, point)
        key = canonical(point)
        if key in self.of and not any(key in there for there in self.asked):
            del self.brackets[self.of.pop(key)][key]

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        super().ended(trial, point, gain)
        number = self.of.get(canonical(point))
        if number is None or len(self.brackets[number]) < self.size:
            return
        if self._next(self.brackets[number]) == (None, True):
            self.over.add(number)

    def promoted(self, closed: bool) -> str | None:
        for number, bracket in enumerate(self.brackets):
            if number not in self.over and (len(bracket) == self.size or closed):
                key, _ = self._next(bracket)
                if key is not None:
                    return key
        return None

    def _next(self, bracket: dict[str, None]) -> tuple[str | None, bool]:
        """The point to promote, if one can be now; and whether all have got where they will."""
        held = list(bracket)
        for rung, ends in enumerate(self.ends):
            if any(key not in ends for key in held):
                return None, False
            if rung == len(self.rungs) - 1:
                break
            best = sorted((ends[key] for key in held), key=lambda e: e.order)
            best = best[: max(1, self.most(rung, len(held)))]
            held = [e.key for e in best if e.sound and e.key not in self.refusals]
            for key in held:
                if key not in self.asked[rung + 1]:
                    return key, False
        return None, True
