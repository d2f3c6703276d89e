"""A search around another one: what wrappers have in common."""

from __future__ import annotations

from random import Random
from typing import Any

from vitruvius.search.history import Better, Event
from vitruvius.search.leaning import Leaning
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.space import Point


class Wrapping(Search):
    """Hears for the search inside, and says what it says. The seed is that of the one inside."""

    def __init__(self, searcher: Searcher, space: Any, better: Better, inner: Search) -> None:
        super().__init__(searcher, space, better)
        self.inner, self.stage = inner, inner.stage

    @property
    def seed(self) -> int:
        """Of the innermost searcher."""
        inner = self.inner
        return inner.seed if isinstance(inner, Wrapping) else inner.searcher.seed

    def hear(self, event: Event) -> None:
        self.inner.hear(event)
        super().hear(event)

    def lean(self, leaning: Leaning) -> None:
        self.inner.lean(leaning)

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        return self.inner.ask(trial, attempt, costs)

    def share(self, point: Point) -> float:
        return self.inner.share(point)

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        return self.inner.propose(draw, costs)
