"""Group normalisation.

Source: Wu & He 2018, "Group normalization", arXiv:1803.08494, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import (
    ChannelsFirst,
    channel_axis,
    need,
    need_positive,
    written,
)


@dataclass(frozen=True)
class GroupNorm(Layer):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + shift, per item and group of channels.

    2 C parameters; the same at every batch size, in training and in evaluation.
    """

    groups: int = hyper(32, one_of(1, 2, 4, 8, 16, 32), "groups of channels")
    epsilon: float = hyper(1e-5, None, "added to the variance")

    def check(self) -> None:
        need_positive(self, "groups")
        if self.epsilon <= 0:
            raise ValueError(f"GroupNorm.epsilon must be above 0; got {self.epsilon}.")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 2, 3, 4, advice="Flatten or reshape before it.")
        channels = x.shape[channel_axis(x)]
        if channels % self.groups:
            raise ValueError(
                f"GroupNorm.groups must divide the channels that come in; got {self.groups} "
                f"groups and {channels} channels. Take a divisor of {channels}."
            )
        if x[0].numel() == self.groups:
            raise ValueError(
                f"GroupNorm needs more than one number in a group, or nothing is left of it; got "
                f"{self.groups} groups of {written(x)}. Take fewer groups."
            )
        module = nn.GroupNorm(self.groups, channels, self.epsilon)
        return ChannelsFirst(module) if x.dim() == 3 else module
