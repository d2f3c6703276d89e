"""No point twice at the same share of its horizon.

Source: ours; a part of every tuner that searches without replacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitruvius.search.fresh import fresh
from vitruvius.search.history import Better, generator
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.wrapping import Wrapping
from vitruvius.space import Point, canonical, hyper, one_of


@dataclass(frozen=True)
class Distinct(Searcher):
    """Ask another searcher, and ask it again where it names a point that was asked before.

    After ``tries`` of these a neighbour of its last word is taken, else a random point, else the
    first that is left; after the last point of a finite space, Exhausted. A trial that was lost may
    come back, and a point at another share of its horizon. The seed is that of the searcher inside.
    """

    searcher: Searcher = hyper(RandomSearch(), None, "the searcher that is asked")
    tries: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "how often it is asked for a new point")

    def check(self) -> None:
        if self.tries < 1:
            raise ValueError(f"Distinct.tries must be at least 1; got {self.tries}.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Distinct(self, space, better, self.searcher.begin(space, better))


class _Distinct(Wrapping):
    def __init__(self, searcher: Distinct, space: Any, better: Better, inner: Search) -> None:
        super().__init__(searcher, space, better, inner)
        self.tries = searcher.tries
        self.keys: dict[int, tuple[str, float]] = {}
        self.counts: dict[tuple[str, float], int] = {}

    def started(self, trial: int, point: Point) -> None:
        key = self.keys[trial] = canonical(point), self.shares[trial]
        self.counts[key] = self.counts.get(key, 0) + 1

    def dropped(self, trial: int, point: Point) -> None:
        key = self.keys[trial]
        self.counts[key] -= 1
        if not self.counts[key]:
            del self.counts[key]

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        point: Point = {}
        for i in range(self.tries):
            point = self.inner.ask(trial, attempt * self.tries + i, costs)
            key = canonical(point)
            if (key, self.share(point)) not in self.counts and key not in self.refusals:
                return point
        draw = generator(self.seed, trial, attempt, -1)
        taken = {key for key, _ in self.counts} | self.refusals
        return fresh(self.program, taken, point, draw)
