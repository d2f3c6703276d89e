"""Layer normalisation.

Source: Ba, Kiros & Hinton 2016, "Layer normalization", arXiv:1607.06450, section 3.
Differs from the paper: on images scale and shift are one number per channel, not per unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper
from vitruvius.techniques.layers.shapes import need, written


@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + shift, within each item.

    Over the features of rows and of each step of a sequence, over all of an image. 2 d parameters.
    """

    epsilon: float = hyper(1e-5, None, "added to the variance")

    def check(self) -> None:
        if self.epsilon <= 0:
            raise ValueError(f"LayerNorm.epsilon must be above 0; got {self.epsilon}.")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 2, 3, 4, advice="Flatten or reshape before it.")
        units = x[0].numel() if x.dim() == 4 else x.shape[-1]
        if units == 1:
            raise ValueError(
                f"LayerNorm needs more than one number to normalise, or nothing is left of it; got "
                f"{written(x)}. Leave it out, or use BatchNorm."
            )
        if x.dim() == 4:
            return nn.GroupNorm(1, x.shape[1], self.epsilon)
        return nn.LayerNorm(x.shape[-1], self.epsilon)
