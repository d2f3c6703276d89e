"""Orthogonal weights.

Source: Saxe, McClelland & Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in
deep linear neural networks", arXiv:1312.6120, section 3.
Differs from the paper: kernels too, as matrices of outputs by all that one output sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.techniques.initializers.weights import WeightInitializer


@dataclass(frozen=True)
class Orthogonal(WeightInitializer):
    """gain Q, with orthonormal rows or columns, whichever are fewer; biases 0."""

    def draw(self, weight: Tensor, inputs: int, outputs: int, rng: torch.Generator) -> None:
        nn.init.orthogonal_(weight, self.gain, generator=rng)
