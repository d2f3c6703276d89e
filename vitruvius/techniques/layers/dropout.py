"""Dropout.

Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
overfitting".
Differs from the paper: what stays is scaled up in training, so that nothing changes afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, uniform


@dataclass(frozen=True)
class Dropout(Layer):
    """In training each number becomes 0 with probability ``rate``, else x / (1 - rate).

    The identity in evaluation. No parameters; one random number per number.
    """

    rate: float = hyper(0.5, uniform(0.0, 0.6), "probability that a number is dropped")

    def check(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(
                f"Dropout.rate must be at least 0 and below 1; got {self.rate}. "
                "It is the share that is dropped, not the one that is kept."
            )

    def build(self, x: Tensor) -> nn.Module:
        return nn.Dropout(self.rate)
