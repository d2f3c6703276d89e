"""Pooling: the largest or the mean number of each window, channel by channel.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II
(mean); Ranzato et al. 2007, "Unsupervised learning of invariant feature hierarchies" (largest);
Lin, Chen & Yan 2014, "Network in network", arXiv:1312.4400, section 3.2 (mean over all places).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer, Stream
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import (
    ChannelsFirst,
    need,
    need_option,
    need_positive,
    need_room,
    place_axes,
    same_padding,
    written,
)


@dataclass(frozen=True)
class _Windows(Layer):
    """One number of each window. No parameters."""

    kernel: int = hyper(2, one_of(2, 3), "cells along each side of the window")
    stride: int | None = hyper(None, one_of(None, 1), "cells between windows; None: the kernel")
    padding: str = hyper("valid", one_of("same", "valid"), "windows over the edge, or none")

    def check(self) -> None:
        need_positive(self, "kernel", "stride")
        need_option(self, "padding", "same", "valid")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, 4, advice="Put it before Flatten, Affine or GlobalAveragePool.")
        module = self._pool(x.dim() == 4)(self.kernel, self.stride or self.kernel)
        if self.padding == "valid":
            need_room(self, x, self.kernel)
        else:
            sides = same_padding(self.kernel) * len(place_axes(x))
            module = self._over_the_edge(module, sides, x.dim() == 4)
        return ChannelsFirst(module) if x.dim() == 3 else module

    @abstractmethod
    def _pool(self, images: bool) -> Callable[[int, int], nn.Module]:
        """What pools windows of this size, so many cells apart; of sequences, or of images."""

    @abstractmethod
    def _over_the_edge(self, pool: nn.Module, sides: tuple[int, ...], images: bool) -> nn.Module:
        """The same with so many cells of padding on each side."""


@dataclass(frozen=True)
class MaxPool(_Windows):
    """y = the largest number of each window; padding never wins.

    No parameters, kernel^2 comparisons per place that comes out (kernel for sequences).
    """

    def _pool(self, images: bool) -> Callable[[int, int], nn.Module]:
        return nn.MaxPool2d if images else nn.MaxPool1d

    def _over_the_edge(self, pool: nn.Module, sides: tuple[int, ...], images: bool) -> nn.Module:
        pad: Any = nn.ConstantPad2d if images else nn.ConstantPad1d
        return nn.Sequential(pad(sides, -torch.inf), pool)


@dataclass(frozen=True)
class AveragePool(_Windows):
    """y = the mean of each window, padding left out of it.

    No parameters, kernel^2 additions per place that comes out (kernel for sequences).
    """

    def _pool(self, images: bool) -> Callable[[int, int], nn.Module]:
        return nn.AvgPool2d if images else nn.AvgPool1d

    def _over_the_edge(self, pool: nn.Module, sides: tuple[int, ...], images: bool) -> nn.Module:
        return _MeanOfWindow(pool, sides)


@dataclass(frozen=True)
class GlobalAveragePool(Layer):
    """y = the mean over all places: [B, C, H, W] to [B, C], [B, T, d] to [B, d]. No parameters."""

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, 4, advice="Put it before Flatten or Affine.")
        return _MeanOfPlaces(place_axes(x))


class _MeanOfWindow(nn.Module):
    """Mean pooling over the cells of a padded window that are real."""

    def __init__(self, pool: nn.Module, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.pool = pool
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        real = torch.ones_like(x[:1, :1])
        total = self.pool(nn.functional.pad(x, self.sides))
        return total / self.pool(nn.functional.pad(real, self.sides))


class _MeanOfPlaces(nn.Module):
    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes)


def one_vector(hidden: Tensor, present: Tensor | None = None, how: str = "mean") -> Tensor:
    """[B d] of hidden [B d], of [B d H W] the mean over places, of [B T d] that over the tokens
    that are ``present`` [B T] (all where None), or the first or last of them."""
    if hidden.dim() == 2:
        return hidden
    if hidden.dim() == 4:
        return hidden.flatten(2).mean(2)
    if hidden.dim() != 3:
        raise ValueError(
            f"A vector is made of [B, d], [B, T, d] or [B, d, H, W]; got {written(hidden)}."
        )
    if present is None:
        present = torch.ones_like(hidden[..., 0], dtype=torch.bool)
    if how == "mean":
        weight = present.to(hidden.dtype).unsqueeze(-1)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    places = torch.arange(hidden.shape[1], device=hidden.device)
    if how == "last":
        at = places.where(present, -1).amax(1).clamp(min=0)
    else:
        at = places.where(present, hidden.shape[1] - 1).amin(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), at]


def present_in(hidden: Tensor, stream: Stream) -> Tensor | None:
    """True [B T] where a stream holds a token of hidden [B T d]; None where those are others."""
    if hidden.dim() != 3:
        return None
    segments = stream.layout.segments
    return segments != 0 if segments.shape == hidden.shape[:2] else None
