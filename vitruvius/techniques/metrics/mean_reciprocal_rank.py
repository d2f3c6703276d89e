"""How far one has to read to the first answer.

Source: Voorhees 1999, "The TREC-8 Question Answering Track Report", section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vitruvius.contracts import Better
from vitruvius.space import hyper
from vitruvius.techniques.metrics.ranked import Ranked


@dataclass(frozen=True)
class MeanReciprocalRank(Ranked):
    """mean(1 / rank of the first answer), 0 where it is beyond ``cutoff``; 1 is the best."""

    cutoff: int | None = hyper(None, doc="how many of the first items count; None: all")

    name: ClassVar[str] = "mean_reciprocal_rank"
    better: ClassVar[Better] = "higher"

    def check(self) -> None:
        if self.cutoff is not None and self.cutoff < 1:
            raise ValueError(f"MeanReciprocalRank.cutoff must be at least 1; got {self.cutoff}.")

    def depth(self) -> int | None:
        return self.cutoff

    def theirs(self, library: Any) -> Any:
        return library.RR
