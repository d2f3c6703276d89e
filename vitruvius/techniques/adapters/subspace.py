"""What adapters have in common that move all weights within a space of few dimensions.

Source: Li et al. 2018, "Measuring the intrinsic dimension of objective landscapes",
arXiv:1804.08838, section 2.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from vitruvius.contracts import Part, Site, Sites, Source, Tensors, Wanted, Wants, WeightDelta


@dataclass(frozen=True)
class Subspace(WeightDelta):
    """W + delta for every parameter of the bodies, the deltas from one source."""

    @abstractmethod
    def source(self) -> Source:
        """What makes the deltas of all of them."""

    def parts(self) -> tuple[Part, ...]:
        return (Part(Sites(kinds=()), self, self.source()),)

    def wants(self, site: Site) -> Wants:
        return {"delta": Wanted(site.sizes["weight"])} if "weight" in site.sizes else {}

    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        return t["delta"]
