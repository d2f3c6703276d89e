"""Points that a person would try first, before a searcher goes on by itself.

Source: ours; what tuners call enqueued trials, warm starts or initial points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitruvius.search.history import Better, generator
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.wrapping import Wrapping
from vitruvius.space import Infeasible, Point, canonical, carry, hyper

Written = tuple[tuple[str, Any], ...]  # a point as pairs of address and label


@dataclass(frozen=True)
class Starting(Searcher):
    """Ask for these points first, in their order, then what another searcher asks.

    A point may be of another space: what fits is kept, the rest is drawn. The seed is that of the
    searcher inside, which hears of these trials like of its own.
    """

    searcher: Searcher = hyper(RandomSearch(), None, "the searcher that is asked then")
    points: tuple[Written, ...] = hyper((), None, "points as pairs of address and label")

    def check(self) -> None:
        for point in self.points:
            if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in point):
                raise ValueError(
                    "Starting.points holds points as pairs of address and label: "
                    f"tuple(point.items()); got {point!r:.60}."
                )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        inner = self.searcher.begin(space, better)
        return StartingSearch(self, space, better, inner, tuple(map(dict, self.points)))


class StartingSearch(Wrapping):
    """A search with points that come first."""

    def __init__(
        self,
        searcher: Searcher,
        space: Any,
        better: Better,
        inner: Search,
        points: Sequence[Point] = (),
    ) -> None:
        super().__init__(searcher, space, better, inner)
        self.first: dict[str, Point] = {}  # those that are still to come, by their text
        for number, known in enumerate(points):
            point = self.whole(known, number)
            if point is not None:
                self.first[canonical(point)] = point

    def whole(self, known: Point, number: int) -> Point | None:
        """A point of this space, what is missing drawn; None where what is kept makes no design."""
        draw = generator(self.seed, number)
        try:
            return carry(self.space, known, lambda decision: decision.domain.sample(draw))
        except Infeasible:
            return None

    def started(self, trial: int, point: Point) -> None:
        self.first.pop(canonical(point), None)

    def refused(self, point: Point) -> None:
        self.first.pop(canonical(point), None)

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        if self.first:
            return next(iter(self.first.values()))
        return self.inner.ask(trial, attempt, costs)
