"""Asynchronous successive halving.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934,
algorithm 2. Differs from the paper: new points come from any searcher, not at random alone; of
equal scores the point that was tried first is the better; where a finite space has no new point
left, the best of a rung with fewer than ``eta`` points goes on too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitruvius.search.halving import Halving, HalvingSearch
from vitruvius.search.history import Better
from vitruvius.search.searcher import Search


@dataclass(frozen=True)
class ASHA(Halving):
    """Promote as soon as there is somebody to promote; else begin a new point.

    A point goes on to the next rung when it is among the best ``floor(n / eta)`` of the n that have
    ended at its own; the highest rung with such a point comes first. Nobody waits for a rung to
    fill, so that an early promotion may turn out to be wrong: at the time of each it was right.
    """

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _ASHA(self, space, better)


class _ASHA(HalvingSearch):
    def promoted(self, closed: bool) -> str | None:
        for rung in range(len(self.rungs) - 2, -1, -1):
            results, beyond = self.results[rung], self.asked[rung + 1]
            alone = closed and len(self.asked[rung]) == len(results)  # nobody else will come
            most = max(self.most(rung, len(results)), int(alone))
            for one in results[:most]:
                if one.sound and one.key not in beyond and one.key not in self.refusals:
                    return one.key
        return None
