"""Weights whose size keeps variance through the layers, forward and backward alike.

Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
networks", AISTATS, equation 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitruvius.techniques.initializers.weights import WeightInitializer


@dataclass(frozen=True)
class Xavier(WeightInitializer):
    """Uniform within gain sqrt(6 / (fan-in + fan-out)); biases 0."""

    def draw(self, weight: Tensor, inputs: int, outputs: int, rng: torch.Generator) -> None:
        bound = self.gain * (6 / (inputs + outputs)) ** 0.5
        weight.uniform_(-bound, bound, generator=rng)
