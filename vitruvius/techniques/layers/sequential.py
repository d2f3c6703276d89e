"""Layers one after the other.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 4 (``Concat``).
Differs from the paper: shapes are inferred by running each layer on meta tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import Repeat
from vitruvius.techniques.layers.shapes import Composite, grow, keys, need_layers


@dataclass(frozen=True, init=False)
class Sequential(Composite):
    """y = f_n(... f_2(f_1(x))). Without layers it is the identity. Costs what its layers cost."""

    varargs: ClassVar[str | None] = "layers"
    layers: tuple[Layer, ...] = field(default=(), metadata={"doc": "layers, first to last"})

    def __init__(self, *layers: Layer | Repeat, label: str | None = None) -> None:
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "label", label)
        self.__post_init__()

    def check(self) -> None:
        need_layers(self, "layers")

    def assemble(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        modules = []
        for address, layer in zip(keys(self.layers), self.layers, strict=True):
            module, x = grow(layer, x, address=address)
            modules.append(module)
        return nn.Sequential(*modules), x
