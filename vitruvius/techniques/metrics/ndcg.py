"""Gain of a ranking, discounted by rank, over that of the best one.

Source: Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20.
Differs from the paper: the first item is discounted by log2(2), the second by log2(3), as in
trec_eval, so that the two count differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vitruvius.contracts import Better
from vitruvius.space import hyper
from vitruvius.techniques.metrics.ranked import Ranked


@dataclass(frozen=True)
class NDCG(Ranked):
    """Mean over queries of sum(grade / log2(rank + 1)) over the first k, per its largest value."""

    k: int = hyper(10, doc="how many of the first items count")

    name: ClassVar[str] = "ndcg"
    better: ClassVar[Better] = "higher"

    def check(self) -> None:
        if self.k < 1:
            raise ValueError(f"NDCG.k must be at least 1; got {self.k}.")

    def depth(self) -> int | None:
        return self.k

    def theirs(self, library: Any) -> Any:
        return library.nDCG @ self.k
