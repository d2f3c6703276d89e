"""Layouts of token batches: padded, packed, and networks called with one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layout


def layout_of(lengths: Sequence[Sequence[int]], tokens: int | None = None) -> Layout:
    """Rows of documents of these lengths, one after the other, padded at the end."""
    width = tokens or max(map(sum, lengths))
    positions = torch.zeros(len(lengths), width, dtype=torch.long)
    segments = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, documents in enumerate(lengths):
        start = 0
        for number, length in enumerate(documents, 1):
            positions[row, start : start + length] = torch.arange(length)
            segments[row, start : start + length] = number
            start += length
    return Layout(positions, segments)


def plain(x: Tensor) -> Layout:
    """Every row one document, as long as the row."""
    tokens = x.shape[1] if x.dim() > 1 else 1
    ones = torch.ones(len(x), tokens, dtype=torch.long, device=x.device)
    return Layout(ones.cumsum(1) - 1, ones)


class WithLayout(nn.Module):
    """A module that reads a layout, as one that reads x alone; numbers become ids where asked."""

    def __init__(self, module: nn.Module, ids: bool) -> None:
        super().__init__()
        self.module, self.ids = module, ids

    def forward(self, x: Tensor) -> Tensor:
        output = self.module(ids_of(x) if self.ids else x, plain(x))
        return output[0] if isinstance(output, tuple) else output


def ids_of(x: Tensor) -> Tensor:
    """Numbers as ids below 100."""
    return (x.detach().abs() * 30).long() % 100
