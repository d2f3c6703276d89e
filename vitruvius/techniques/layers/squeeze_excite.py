"""Squeeze and excitation.

Source: Hu, Shen & Sun 2018, "Squeeze-and-excitation networks", arXiv:1709.01507, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import need


@dataclass(frozen=True)
class SqueezeExcite(Layer):
    """y = x * sigmoid(W_2 relu(W_1 mean(x) + b_1) + b_2): one factor per image and channel.

    About 2 * ratio * C^2 parameters and twice as many FLOPs, and a mean and a product per number.
    """

    ratio: float = hyper(1 / 16, one_of(1 / 16, 1 / 8, 1 / 4), "hidden width over the channels")

    def check(self) -> None:
        if self.ratio <= 0:
            raise ValueError(f"SqueezeExcite.ratio must be above 0; got {self.ratio}.")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 4, advice="Put it before Flatten, Affine or GlobalAveragePool.")
        channels = x.shape[1]
        hidden = max(1, round(self.ratio * channels))
        return _ChannelGates(nn.Linear(channels, hidden), nn.Linear(hidden, channels))


class _ChannelGates(nn.Module):
    def __init__(self, squeeze: nn.Linear, excite: nn.Linear) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.excite = excite

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.squeeze(x.mean((2, 3))).relu()
        return x * self.excite(hidden).sigmoid()[:, :, None, None]
