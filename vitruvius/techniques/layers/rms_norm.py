"""Root mean square normalisation.

Source: Zhang & Sennrich 2019, "Root mean square layer normalization", arXiv:1910.07467, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper
from vitruvius.techniques.layers.shapes import need, written


@dataclass(frozen=True)
class RMSNorm(Layer):
    """y = scale * x / sqrt(mean(x^2) + epsilon), over the features of each row or step.

    d parameters.
    """

    epsilon: float = hyper(1e-6, None, "added to the mean square")

    def check(self) -> None:
        if self.epsilon <= 0:
            raise ValueError(f"RMSNorm.epsilon must be above 0; got {self.epsilon}.")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 2, 3, advice="For images take LayerNorm, GroupNorm or BatchNorm.")
        if x.shape[-1] == 1:
            raise ValueError(
                "RMSNorm needs more than one number to normalise, or only a sign is left of it; "
                f"got {written(x)}. Leave it out, or use BatchNorm."
            )
        return nn.RMSNorm(x.shape[-1], self.epsilon)
