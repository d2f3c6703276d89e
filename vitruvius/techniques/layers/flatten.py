"""All axes but the batch made one.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 4 (inside ``Affine``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer


@dataclass(frozen=True)
class Flatten(Layer):
    """[B, ...] to [B, d]. No parameters, no FLOPs."""

    def build(self, x: Tensor) -> nn.Module:
        return nn.Flatten()
