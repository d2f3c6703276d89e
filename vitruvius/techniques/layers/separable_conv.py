"""Depthwise separable convolution.

Source: Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions",
arXiv:1610.02357, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.conv import convolution
from vitruvius.techniques.layers.shapes import need, need_option, need_positive, need_room


@dataclass(frozen=True)
class SeparableConv(Layer):
    """One filter for each channel over the window, then a 1x1 convolution across channels.

    C * kernel^2 + filters * (C + 1) parameters, and twice the products of that many in FLOPs per
    place: about kernel^2 times less than a full convolution. No activation stands between the two.
    """

    filters: int = hyper(32, one_of(16, 32, 64, 128), "channels that come out")
    kernel: int = hyper(3, one_of(3, 5, 7), "cells along each side of the window")
    stride: int = hyper(1, one_of(1, 2), "cells from one window to the next")
    padding: str = hyper("same", one_of("same", "valid"), "zeros around the image, or none")
    dilation: int = hyper(1, one_of(1, 2), "cells from one tap of the window to the next")
    bias: bool = hyper(True, one_of(True, False), "whether each filter adds a number of its own")

    def check(self) -> None:
        need_positive(self, "filters", "kernel", "stride", "dilation")
        need_option(self, "padding", "same", "valid")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 4, advice="Put it before Flatten, Affine or GlobalAveragePool.")
        if self.padding == "valid":
            need_room(self, x, self.dilation * (self.kernel - 1) + 1)
        channels = x.shape[1]
        depthwise = convolution(
            channels,
            channels,
            self.kernel,
            stride=self.stride,
            same=self.padding == "same",
            dilation=self.dilation,
            groups=channels,
            bias=False,
        )
        return nn.Sequential(depthwise, nn.Conv2d(channels, self.filters, 1, bias=self.bias))
