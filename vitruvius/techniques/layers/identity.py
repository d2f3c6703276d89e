"""The layer that does nothing.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 4 (``Empty``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Layer


@dataclass(frozen=True)
class Identity(Layer):
    """y = x: the option of a choice that leaves a layer out. No parameters, no FLOPs."""

    def build(self, x: Tensor) -> nn.Module:
        return nn.Identity()
