"""Dense block.

Source: Huang et al. 2017, "Densely connected convolutional networks", arXiv:1608.06993, section 3.
Differs from the paper: any layers may be the bodies, and they may differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import Repeat
from vitruvius.techniques.layers.combine import combination
from vitruvius.techniques.layers.shapes import Composite, channel_axis, grow, keys, need_layers


@dataclass(frozen=True, init=False)
class Dense(Composite):
    """x_i = f_i([x_0, ..., x_{i-1}]) with x_0 = x; y = [x_0, ..., x_n], channels side by side.

    Costs what the bodies cost, whose inputs grow: bodies of k channels give C + n * k.
    """

    varargs: ClassVar[str | None] = "bodies"
    bodies: tuple[Layer, ...] = field(default=(), metadata={"doc": "layers, first to last"})

    def __init__(self, *bodies: Layer | Repeat, label: str | None = None) -> None:
        object.__setattr__(self, "bodies", bodies)
        object.__setattr__(self, "label", label)
        self.__post_init__()

    def check(self) -> None:
        need_layers(self, "bodies")

    def assemble(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        modules = []
        for address, body in zip(keys(self.bodies), self.bodies, strict=True):
            module, output = grow(body, x, address=address)
            modules.append(module)
            x = combination("concat", (x, output))(x, output)
        return _DenselyConnected(nn.ModuleList(modules), channel_axis(x)), x


class _DenselyConnected(nn.Module):
    def __init__(self, bodies: nn.ModuleList, axis: int) -> None:
        super().__init__()
        self.bodies = bodies
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        for body in self.bodies:
            x = torch.cat((x, body(x)), self.axis)
        return x
