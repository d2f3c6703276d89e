"""Which tokens of a row are of one document."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitruvius.contracts import Layout


def together(x: Float[Tensor, "B T d"], layout: Layout) -> Bool[Tensor, "B T T"]:
    """True where the token of a row and that of a column are of one document; never at padding.

    Where the layout is not of these tokens, as for the patches of an image, each row is a document.
    """
    segments = layout.segments
    if segments.shape != x.shape[:2]:
        return torch.ones((), dtype=torch.bool, device=x.device).expand(*x.shape[:2], x.shape[1])
    return (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]


def mean_of(x: Float[Tensor, "B T d"], same: Bool[Tensor, "B T T"]) -> Float[Tensor, "B T d"]:
    """At each token the mean of its document; zero at padding."""
    weight = same.to(x.dtype)
    return weight @ x / weight.sum(2, keepdim=True).clamp(min=1)


def first_of(x: Float[Tensor, "B T d"], same: Bool[Tensor, "B T T"]) -> Float[Tensor, "B T d"]:
    """At each token the first of its document; at padding the first of the row."""
    at = same.to(torch.uint8).argmax(2, keepdim=True)
    return x.gather(1, at.expand(-1, -1, x.shape[2]))
