"""Train few numbers that a fixed random map spreads over all weights.

Source: Aghajanyan, Gupta & Zettlemoyer 2021, "Intrinsic dimensionality explains the effectiveness
of language model fine-tuning", arXiv:2012.13255, section 3 (direct intrinsic dimension); Li et al.
2018, "Measuring the intrinsic dimension of objective landscapes", arXiv:1804.08838, section 2.
Differs from the papers: the head is not projected; it trains as with any adapter.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Source
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.adapters.subspace import Subspace
from vitruvius.techniques.sources.projected import SCOPES, Projected
from vitruvius.techniques.sources.projections import KINDS


@dataclass(frozen=True)
class DID(Subspace):
    """W + P theta in place of every W, with theta in R^d alone to be trained.

    Trains d numbers exactly; theta = 0 at the start, so that the model is unchanged. A file holds a
    few kB: theta and the seed of P. A step takes n log n more for n weights. How many numbers a
    task needs (d90) is read off a sweep over d, never off one d.
    """

    dimension: int = hyper(500, integers(10, 100_000, log=True), "numbers that train, d")
    projection: str = hyper("fastfood", one_of(*KINDS), "map of theta to the weights")
    scope: str = hyper("tensor", one_of(*SCOPES), "a map for each tensor, or one to all of them")

    def check(self) -> None:
        self.source()

    def source(self) -> Source:
        return Projected(self.dimension, self.projection, "none", self.scope)
