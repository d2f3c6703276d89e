"""Every point, one after the other.

Source: Negrinho and Gordon 2017, arXiv:1704.08792, section 5.1 (enumeration).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from vitruvius.search.fresh import Exhausted
from vitruvius.search.history import Better
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.space import Point, canonical, enumerate_points


@dataclass(frozen=True)
class Exhaustive(Searcher):
    """The first point, in the order of decisions, that has not been asked; then Exhausted.

    A real domain has no end of points: the first ask of a space with one raises ValueError.
    """

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Exhaustive(self, space, better)


class _Exhaustive(Search):
    def __init__(self, searcher: Exhaustive, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.taken: dict[str, int] = {}
        self.order = enumerate_points(space)
        self.first: Point | None = None  # all points before it are taken

    def started(self, trial: int, point: Point) -> None:
        key = canonical(point)
        self.taken[key] = self.taken.get(key, 0) + 1

    def dropped(self, trial: int, point: Point) -> None:
        self.taken[canonical(point)] -= 1
        self.order, self.first = enumerate_points(self.space), None  # it may stand before the first

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        while self.first is None or not self._left(self.first):
            self.first = next(self.order, None)
            if self.first is None:
                raise Exhausted(f"All {sum(map(bool, self.taken.values()))} points were asked.")
        return self.first

    def _left(self, point: Point) -> bool:
        key = canonical(point)
        return not self.taken.get(key) and key not in self.refusals
