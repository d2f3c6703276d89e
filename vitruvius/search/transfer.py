"""A search that begins with what earlier studies found, also of an edited space.

Source: trials of earlier tasks as evidence of less weight in one regression: the power prior of
Ibrahim and Chen 2000, "Power Prior Distributions for Regression Models", Statistical Science 15(1);
scores brought to one scale study by study as ranks: Salinas, Shen and Perrone 2020, "A
Quantile-based Approach for Hyperparameter Transfer Learning", arXiv:1909.13595; the best earlier
points first: Feurer, Springenberg and Hutter 2015, "Initializing Bayesian Hyperparameter
Optimization via Meta-Learning".
Differs from the sources: points of another space take part with the decisions that both share, the
others are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitruvius.search.history import Better, Event, outcome
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.starting import StartingSearch
from vitruvius.space import Point, canonical, hyper, integers, one_of


@dataclass(frozen=True)
class Transfer(Searcher):
    """Ask for the best points of earlier studies first, then what another searcher asks.

    What these studies found is in events "earlier" of this one's journal. Of each the ``first``
    best points are tried anew. The searcher inside hears all of them; one with a surrogate
    (``SMBO``) learns each as ``weight`` of a trial of its own, as a rank among the trials of its
    study, and leaves out its random start. The seed is that of the searcher inside.
    """

    searcher: Searcher = hyper(RandomSearch(), None, "the searcher that is asked then")
    first: int = hyper(3, integers(0, 10), "best points of each earlier study that are tried first")
    weight: float = hyper(0.1, one_of(0.0, 0.1, 0.3, 1.0), "of an earlier trial against one's own")

    def check(self) -> None:
        if self.first < 0:
            raise ValueError(f"Transfer.first must be at least 0; got {self.first}.")
        if not 0 <= self.weight <= 1:
            raise ValueError(
                f"Transfer.weight must be in [0, 1]; got {self.weight}. "
                "1 trusts an earlier trial as much as one of this study, 0 not at all."
            )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Transfer(self, space, better, self.searcher.begin(space, better))


class _Transfer(StartingSearch):
    def __init__(self, searcher: Transfer, space: Any, better: Better, inner: Search) -> None:
        super().__init__(searcher, space, better, inner)
        self.transfer = searcher
        self.most = 0  # trials at the beginning that may be points of earlier studies

    def hear(self, event: Event) -> None:
        if event.kind == "earlier":
            self._queue(event)
            event = Event(
                event.sequence, event.kind, 0, {**event.body, "weight": self.transfer.weight}
            )
        super().hear(event)

    def _queue(self, event: Event) -> None:
        """Let the best points of a study come first, those that fit the space."""
        sign = -1.0 if event.body.get("better") == "lower" else 1.0
        ended = [t for t in event.body["trials"] if outcome(Event(0, "told", 0, t)) is not None]
        ended.sort(key=lambda t: -sign * t["score"])
        queued = 0
        for trial in ended:
            point = self.whole(trial["point"], trial["trial"])
            if point is not None and canonical(point) not in self.first:
                if queued == self.transfer.first:
                    break
                self.first[canonical(point)] = point
                queued += 1
        self.most += queued

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        if len(self.points) >= self.most:
            return self.inner.ask(trial, attempt, costs)
        return super().ask(trial, attempt, costs)
