"""Train few numbers that a fixed random map spreads over all weights, and a scale of each tensor.

Source: Aghajanyan, Gupta & Zettlemoyer 2021, "Intrinsic dimensionality explains the effectiveness
of language model fine-tuning", arXiv:2012.13255, section 3 (structure-aware intrinsic dimension).
Differs from the paper: scales are of tensors, as in its code, not of layers; the head is not
projected; it trains as with any adapter.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Source
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.adapters.subspace import Subspace
from vitruvius.techniques.sources.projected import SCOPES, Projected
from vitruvius.techniques.sources.projections import KINDS


@dataclass(frozen=True)
class SAID(Subspace):
    """W_i + lambda_i P_i theta in place of each of m tensors, with theta and lambda to be trained.

    Trains d numbers exactly: m scales, which start at 1, and d - m of theta, which start at 0, so
    that the model is unchanged. So d must be above the number of tensors. Else as DID.
    """

    dimension: int = hyper(
        500, integers(10, 100_000, log=True), "numbers that train, d, the scales counted"
    )
    projection: str = hyper("fastfood", one_of(*KINDS), "map of theta to the weights")
    scope: str = hyper("tensor", one_of(*SCOPES), "a map for each tensor, or one to all of them")

    def check(self) -> None:
        self.source()

    def source(self) -> Source:
        return Projected(self.dimension, self.projection, "tensor", self.scope)
