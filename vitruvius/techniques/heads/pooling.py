"""From the tokens of a row to one vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

POOLS = ("cls", "mean", "last")


class Pool(nn.Module):
    """One vector [B d] of hidden [B T d]: its first token, its last, or the mean; never padding.

    Hidden [B d] stays as it is, [B d H W] becomes its mean over places.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, hidden: Tensor, present: Tensor | None = None) -> Tensor:
        """``present`` [B T] is False at padding."""
        if hidden.dim() > 3:
            return hidden.flatten(2).mean(2)
        if hidden.dim() < 3:
            return hidden
        if present is None:
            present = torch.ones_like(hidden[..., 0], dtype=torch.bool)
        if self.kind == "mean":
            weight = present.to(hidden.dtype).unsqueeze(-1)
            return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        places = torch.arange(hidden.shape[1], device=hidden.device)
        if self.kind == "last":
            at = places.where(present, -1).amax(1).clamp(min=0)
        else:
            at = places.where(present, hidden.shape[1] - 1).amin(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), at]


def check_pool(owner: Any) -> None:
    """Raises ValueError where a node's ``pool`` is none that there is."""
    if owner.pool not in POOLS:
        name = type(owner).__name__
        raise ValueError(f"{name}.pool is one of {', '.join(POOLS)}; got {owner.pool!r}.")


def width_of(owner: Any, hidden: Tensor) -> int:
    """Features of hidden [B d], [B T d] or [B d H W]. Raises ValueError for anything else."""
    if hidden.dim() < 2:
        raise ValueError(
            f"{type(owner).__name__} needs [B, d], [B, T, d] or [B, d, H, W]; got one axis only."
        )
    return hidden.shape[-1] if hidden.dim() == 3 else hidden.shape[1]


def present_of(hidden: Tensor, batch: Any, stream: str = "input") -> Tensor | None:
    """True [B T] where a stream holds a token; None where there are no tokens."""
    if batch is None or hidden.dim() != 3:
        return None
    segments = batch.streams[stream].layout.segments
    return segments != 0 if segments.shape == hidden.shape[:2] else None
