"""A linear map as the product of two thin ones.

Source: Guo et al. 2024, "PELA: Learning parameter-efficient models with low-rank approximation",
arXiv:2310.10700, section 3.1; the best such product is that of Eckart & Young 1936, "The
approximation of one matrix by another of lower rank".
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FactoredLinear(nn.Module):
    """up (down x) + bias: rank (in + out) numbers in place of in * out, and as many FLOPs twice."""

    def __init__(
        self, up: Float[Tensor, "out rank"], down: Float[Tensor, "rank in"], bias: Tensor | None
    ) -> None:
        super().__init__()
        (self.out_features, rank), self.in_features = up.shape, down.shape[1]
        self.down = nn.Linear(self.in_features, rank, bias=False, device="meta")
        self.up = nn.Linear(rank, self.out_features, bias=bias is not None, device="meta")
        self.down.weight, self.up.weight = nn.Parameter(down), nn.Parameter(up)
        if bias is not None:
            self.up.bias = nn.Parameter(bias)

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """The product, with its gradient."""
        return self.up.weight @ self.down.weight

    @property
    def bias(self) -> Tensor | None:
        return self.up.bias

    def forward(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        return self.up(self.down(x))


def split(
    weight: Float[Tensor, "out in"], rank: int
) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
    """The two factors whose product is nearest to a weight; each has the roots of its values."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def rank_of_ratio(out: int, into: int, ratio: float) -> int:
    """The largest rank at which both factors together have at most out * in / ratio numbers."""
    return int(out * into / (ratio * (into + out)))


def rank_of_energy(weight: Float[Tensor, "out in"], share: float) -> int:
    """The smallest rank that keeps such a share of the squared singular values."""
    kept = torch.linalg.svdvals(weight.double()).square().cumsum(0)
    return min(int((kept < share * kept[-1]).sum()) + 1, len(kept))
