"""Convolution over sequences.

Source: Waibel et al. 1989, "Phoneme recognition using time-delay neural networks"; the causal
padding is that of van den Oord et al. 2016, "WaveNet", arXiv:1609.03499, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import (
    ChannelsFirst,
    need,
    need_option,
    need_positive,
    need_room,
    same_padding,
)


@dataclass(frozen=True)
class SequenceConv(Layer):
    """y[t, f] = bias[f] + sum over features and window of weight[f] x, at each stride-th step.

    filters * (d * kernel + 1) parameters, 2 * filters * d * kernel FLOPs per step that comes out.
    With padding "causal" no step sees a later one.
    """

    filters: int = hyper(32, one_of(16, 32, 64, 128), "features that come out")
    kernel: int = hyper(3, one_of(3, 5, 7), "steps of the window")
    stride: int = hyper(1, one_of(1, 2), "steps from one window to the next")
    padding: str = hyper("same", one_of("same", "valid", "causal"), "where zeros are added")
    dilation: int = hyper(1, one_of(1, 2, 4), "steps from one tap of the window to the next")
    bias: bool = hyper(True, one_of(True, False), "whether each filter adds a number of its own")

    def check(self) -> None:
        need_positive(self, "filters", "kernel", "stride", "dilation")
        need_option(self, "padding", "same", "valid", "causal")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 3, advice="For images use Conv, for rows Affine.")
        reach = self.dilation * (self.kernel - 1)
        if self.padding == "valid":
            need_room(self, x, reach + 1)
        before, after = {
            "same": same_padding(self.kernel, self.dilation),
            "valid": (0, 0),
            "causal": (reach, 0),
        }[self.padding]
        symmetric = before == after
        module = nn.Conv1d(
            x.shape[2],
            self.filters,
            self.kernel,
            self.stride,
            before if symmetric else 0,
            self.dilation,
            bias=self.bias,
        )
        if symmetric:
            return ChannelsFirst(module)
        return ChannelsFirst(nn.Sequential(nn.ConstantPad1d((before, after), 0.0), module))
