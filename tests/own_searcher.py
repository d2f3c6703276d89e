"""A searcher that is none of ours, as a user would write one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from vitruvius.search import Better, Costs, Search, Searcher
from vitruvius.space import Point


@dataclass(frozen=True)
class Last(Searcher):
    """The last of three random points."""

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Last(self, space, better)


class _Last(Search):
    def propose(self, draw: Random, costs: Costs | None) -> Point:
        return [self.program.sample(draw) for _ in range(3)][-1]
