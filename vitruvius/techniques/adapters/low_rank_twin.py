"""A thinner model in the place of a pretrained one: its linear maps as products of two.

Source: Guo et al. 2024, "PELA: Learning parameter-efficient models with low-rank approximation",
arXiv:2310.10700, section 3.1.
Differs from the paper: what is left out is named by its place and not by its name; a product that
would save nothing is left out too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Part, Replace, Site, Sites
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.adapters.full_tuning import FullTuning
from vitruvius.techniques.adapters.low_rank import ATTENTION, LINEARS
from vitruvius.techniques.layers.factored import (
    FactoredLinear,
    rank_of_energy,
    rank_of_ratio,
    split,
)

THIN = 10  # outputs below which a map stays as it is


@dataclass(frozen=True)
class LowRankTwin(Replace):
    """W becomes W_2 W_1 of rank r = in out / (ratio (in + out)), and everything trains.

    1 / ratio of the numbers and FLOPs of each map. At the start the product is the truncated SVD of
    W, the nearest of its rank, so that the model is changed from the start: heal it, with Healing.
    Maps with fewer than 10 outputs stay, and those that would not shrink.
    """

    ratio: float = hyper(2.0, uniform(1.2, 8.0), "numbers of a map over those of its product")
    energy: float | None = hyper(
        None, None, "share of the squared singular values that is kept; in place of ratio"
    )
    start: str = hyper("svd", None, "'svd' of the weights, or 'random' where others are loaded")
    rest: bool = hyper(True, one_of(True, False), "whether all else trains with the products")
    sites: Sites = hyper(LINEARS, one_of(LINEARS, ATTENTION), "which maps become products")
    skip: tuple[str, ...] = hyper(
        ("linear",), None, "places that stay: of the default, maps in no attention or feed-forward"
    )

    def check(self) -> None:
        if self.ratio <= 1:
            raise ValueError(
                f"LowRankTwin.ratio must be above 1; got {self.ratio}. "
                "For the model as it is, take FullTuning."
            )
        if self.energy is not None and not 0 < self.energy <= 1:
            raise ValueError(
                f"LowRankTwin.energy must be above 0 and at most 1; got {self.energy}."
            )
        if self.start not in ("svd", "random"):
            raise ValueError(f"LowRankTwin.start must be 'svd' or 'random'; got {self.start!r}.")

    @property
    def identity(self) -> bool:
        return False

    def parts(self) -> tuple[Part, ...]:
        thin = Part(self.sites, self)
        return (thin, *FullTuning().parts()) if self.rest else (thin,)

    def fits(self, site: Site) -> bool:
        return site.place not in self.skip

    def swap(self, module: nn.Module, given: Given) -> nn.Module | None:
        if not isinstance(module, nn.Linear) or module.out_features < THIN:
            return None
        weight, bias = module.weight.detach(), module.bias
        out, into = weight.shape
        rank = self.rank_for(weight)
        if rank * (out + into) >= out * into:
            return None
        up, down = drawn(out, into, rank, given) if self.start == "random" else split(weight, rank)
        bias = None if bias is None else bias.detach().clone()
        return FactoredLinear(up.to(weight), down.to(weight), bias)

    def rank_for(self, weight: Tensor) -> int:
        out, into = weight.shape
        if self.energy is not None:
            return rank_of_energy(weight, self.energy)
        return max(1, rank_of_ratio(out, into, self.ratio))

    def weight(self, swapped: nn.Module) -> Tensor | None:
        return swapped.weight if isinstance(swapped, FactoredLinear) else None


def drawn(out: int, into: int, rank: int, given: Given) -> tuple[Tensor, Tensor]:
    """Two factors as torch draws those of linear maps."""
    made = [
        (2 * torch.rand(size, generator=given.rng, device=given.rng.device) - 1) / size[1] ** 0.5
        for size in ((out, rank), (rank, into))
    ]
    return made[0], made[1]
