"""Convolution over images.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.
Differs from the paper: every filter sees every channel of its group; no bias or scale beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import (
    need,
    need_option,
    need_positive,
    need_room,
    same_padding,
)


@dataclass(frozen=True)
class Conv(Layer):
    """y[f] = bias[f] + sum over channels and window of weight[f] x, at each stride-th place.

    filters * (C / groups * kernel^2 + 1) parameters, 2 * filters * C / groups * kernel^2 FLOPs per
    place that comes out. Out of n cells come ceil(n / stride) with padding "same" and
    ceil((n - dilation * (kernel - 1)) / stride) with "valid".
    """

    filters: int = hyper(32, one_of(16, 32, 64, 128), "channels that come out")
    kernel: int = hyper(3, one_of(1, 3, 5, 7), "cells along each side of the window")
    stride: int = hyper(1, one_of(1, 2), "cells from one window to the next")
    padding: str = hyper("same", one_of("same", "valid"), "zeros around the image, or none")
    dilation: int = hyper(1, one_of(1, 2), "cells from one tap of the window to the next")
    groups: int = hyper(1, None, "parts of the channels that do not see each other")
    bias: bool = hyper(True, one_of(True, False), "whether each filter adds a number of its own")

    def check(self) -> None:
        need_positive(self, "filters", "kernel", "stride", "dilation", "groups")
        need_option(self, "padding", "same", "valid")
        if self.filters % self.groups:
            raise ValueError(
                f"Conv.groups must divide Conv.filters; got {self.groups} groups and "
                f"{self.filters} filters. Take a multiple of {self.groups} as filters."
            )

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 4, advice="Put it before Flatten, Affine or GlobalAveragePool.")
        if self.padding == "valid":
            need_room(self, x, self.dilation * (self.kernel - 1) + 1)
        if x.shape[1] % self.groups:
            raise ValueError(
                f"Conv.groups must divide the channels that come in; got {self.groups} groups and "
                f"{x.shape[1]} channels. Set groups=1, or change the filters before it."
            )
        return convolution(
            x.shape[1],
            self.filters,
            self.kernel,
            stride=self.stride,
            same=self.padding == "same",
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
        )


def convolution(
    channels: int,
    filters: int,
    kernel: int,
    *,
    stride: int = 1,
    same: bool = True,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """PyTorch's convolution; one cell more is padded at the end where the sides cannot be equal."""
    before, after = same_padding(kernel, dilation) if same else (0, 0)
    module = nn.Conv2d(
        channels,
        filters,
        kernel,
        stride,
        before if before == after else 0,
        dilation,
        groups,
        bias,
    )
    if before == after:
        return module
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), module)
