"""Random search.

Source: Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization", JMLR 13; in a
tree of decisions as in Negrinho and Gordon 2017, arXiv:1704.08792, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from vitruvius.search.history import Better
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.space import Point


@dataclass(frozen=True)
class RandomSearch(Searcher):
    """Draw each decision from its domain, whatever happened before."""

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _RandomSearch(self, space, better)


class _RandomSearch(Search):
    def propose(self, draw: Random, costs: Costs | None) -> Point:
        return self.program.sample(draw)
