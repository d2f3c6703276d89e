"""Batch normalisation.

Source: Ioffe & Szegedy 2015, "Batch normalization", arXiv:1502.03167, algorithms 1 and 2.
Differs from the paper: evaluation uses running averages of the statistics, not a second pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, log_uniform
from vitruvius.techniques.layers.shapes import ChannelsFirst, channel_axis, need


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + shift, per channel over the batch.

    2 C parameters and 2 C running statistics. In training it couples the rows of a batch, and a
    batch needs more than one number per channel.
    """

    momentum: float = hyper(0.1, log_uniform(0.01, 0.3), "share of a batch in the running averages")
    epsilon: float = hyper(1e-5, None, "added to the variance")

    def check(self) -> None:
        if not 0 < self.momentum <= 1:
            raise ValueError(
                f"BatchNorm.momentum must be above 0 and at most 1; got {self.momentum}. "
                "It is the share of the new batch (0.1 is a decay of 0.9)."
            )
        if self.epsilon <= 0:
            raise ValueError(f"BatchNorm.epsilon must be above 0; got {self.epsilon}.")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 2, 3, 4, advice="Flatten or reshape before it.")
        norm = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
        module = norm(x.shape[channel_axis(x)], self.epsilon, self.momentum)
        return ChannelsFirst(module) if x.dim() == 3 else module
