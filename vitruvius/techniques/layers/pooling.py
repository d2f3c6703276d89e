"""Pooling: the largest or the mean number of each window, channel by channel.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II
(mean); Ranzato et al. 2007, "Unsupervised learning of invariant feature hierarchies" (largest);
Lin, Chen & Yan 2014, "Network in network", arXiv:1312.4400, section 3.2 (mean over all places).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import (
    ChannelsFirst,
    need,
    need_option,
    need_positive,
    need_room,
    place_axes,
    same_padding,
)


@dataclass(frozen=True)
class MaxPool(Layer):
    """y = the largest number of each window; padding never wins.

    No parameters, kernel^2 comparisons per place that comes out (kernel for sequences).
    """

    kernel: int = hyper(2, one_of(2, 3), "cells along each side of the window")
    stride: int | None = hyper(None, one_of(None, 1), "cells between windows; None: the kernel")
    padding: str = hyper("valid", one_of("same", "valid"), "windows over the edge, or none")

    def check(self) -> None:
        need_positive(self, "kernel", "stride")
        need_option(self, "padding", "same", "valid")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, 4, advice="Put it before Flatten, Affine or GlobalAveragePool.")
        pool = nn.MaxPool2d if x.dim() == 4 else nn.MaxPool1d
        module: nn.Module = pool(self.kernel, self.stride or self.kernel)
        if self.padding == "valid":
            need_room(self, x, self.kernel)
        else:
            sides = same_padding(self.kernel) * len(place_axes(x))
            pad = nn.ConstantPad2d if x.dim() == 4 else nn.ConstantPad1d
            module = nn.Sequential(pad(sides, -torch.inf), module)  # type: ignore[arg-type]
        return ChannelsFirst(module) if x.dim() == 3 else module


@dataclass(frozen=True)
class AveragePool(Layer):
    """y = the mean of each window, padding left out of it.

    No parameters, kernel^2 additions per place that comes out (kernel for sequences).
    """

    kernel: int = hyper(2, one_of(2, 3), "cells along each side of the window")
    stride: int | None = hyper(None, one_of(None, 1), "cells between windows; None: the kernel")
    padding: str = hyper("valid", one_of("same", "valid"), "windows over the edge, or none")

    def check(self) -> None:
        need_positive(self, "kernel", "stride")
        need_option(self, "padding", "same", "valid")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, 4, advice="Put it before Flatten, Affine or GlobalAveragePool.")
        pool = nn.AvgPool2d if x.dim() == 4 else nn.AvgPool1d
        module: nn.Module = pool(self.kernel, self.stride or self.kernel)
        if self.padding == "valid":
            need_room(self, x, self.kernel)
        else:
            sides = same_padding(self.kernel) * len(place_axes(x))
            module = _MeanOfWindow(module, sides)
        return ChannelsFirst(module) if x.dim() == 3 else module


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
