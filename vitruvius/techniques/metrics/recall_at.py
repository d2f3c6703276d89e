"""How many of the answers are among the first.

Source: Manning, Raghavan & Schütze 2008, "Introduction to Information Retrieval", section 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vitruvius.contracts import Better
from vitruvius.space import hyper
from vitruvius.techniques.metrics.ranked import Ranked


@dataclass(frozen=True)
class RecallAt(Ranked):
    """Mean over queries of the share of their answers among the first k items."""

    k: int = hyper(10, doc="how many of the first items count")

    name: ClassVar[str] = "recall"
    better: ClassVar[Better] = "higher"

    def check(self) -> None:
        if self.k < 1:
            raise ValueError(f"RecallAt.k must be at least 1; got {self.k}.")

    def depth(self) -> int | None:
        return self.k

    def theirs(self, library: Any) -> Any:
        return library.R @ self.k
