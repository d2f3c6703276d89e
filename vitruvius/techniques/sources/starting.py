"""How tensors start, as edits want them to.

Source: "kaiming" is what ``torch.nn.Linear`` draws; He et al. 2015, "Delving Deep into Rectifiers",
arXiv:1502.01852, with the slope sqrt(5).
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from vitruvius.contracts import Wanted


def start_of(wanted: Wanted, rng: torch.Generator) -> Tensor:
    """A tensor as it is to start, float32 on the CPU."""
    size = wanted.size
    if wanted.start == "zero":
        return torch.zeros(size)
    if wanted.start == "one":
        return torch.ones(size)
    if wanted.start == "identity":
        return torch.eye(*size[-2:]).expand(size).clone()
    if wanted.start == "normal":
        return wanted.scale * torch.randn(size, generator=rng)
    return (2 * torch.rand(size, generator=rng) - 1) * deviation(wanted) * sqrt(3)


def deviation(wanted: Wanted) -> float:
    """Of the entries, where they are drawn; 0 where they are not."""
    if wanted.start == "normal":
        return wanted.scale
    return 1 / sqrt(3 * wanted.size[-1]) if wanted.start == "kaiming" and wanted.size else 0.0
