"""Weights whose size keeps variance through layers followed by a rectifier.

Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, equation 10.
Differs from the paper: a gain beside it, which DeepArchitect (arXiv:1704.08792) searches. Its code
divided by the product of all axes of a kernel; this is the fan-in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitruvius.techniques.initializers.weights import WeightInitializer


@dataclass(frozen=True)
class Kaiming(WeightInitializer):
    """Normal with mean 0 and standard deviation gain sqrt(2 / fan-in); biases 0."""

    def draw(self, weight: Tensor, inputs: int, outputs: int, rng: torch.Generator) -> None:
        weight.normal_(0.0, self.gain * (2 / inputs) ** 0.5, generator=rng)
