"""Parallel branches.

Source: Szegedy et al. 2015, "Going deeper with convolutions", arXiv:1409.4842, section 4; as a part
of spaces Negrinho et al. 2019, arXiv:1909.13404 (``split_combine``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import Repeat, hyper, one_of
from vitruvius.techniques.layers.combine import combination
from vitruvius.techniques.layers.identity import Identity
from vitruvius.techniques.layers.shapes import Composite, grow, keys, need_layers, need_option


@dataclass(frozen=True, init=False)
class Branches(Composite):
    """y = combine(f_1(x), ..., f_n(x)): every body sees the same input.

    Costs what the bodies cost.
    """

    varargs: ClassVar[str | None] = "bodies"
    bodies: tuple[Layer, ...] = field(default=(), metadata={"doc": "layers beside each other"})
    combine: str = hyper("sum", one_of("sum", "mean", "concat"), "what becomes of their outputs")

    def __init__(
        self, *bodies: Layer | Repeat, combine: str = "sum", label: str | None = None
    ) -> None:
        object.__setattr__(self, "bodies", bodies)
        object.__setattr__(self, "combine", combine)
        object.__setattr__(self, "label", label)
        self.__post_init__()

    @classmethod
    def example(cls) -> Branches:
        return cls(Identity(), Identity())

    def check(self) -> None:
        need_layers(self, "bodies")
        need_option(self, "combine", "sum", "mean", "concat")
        if not self.bodies:
            raise ValueError("Branches needs at least one body; got none. Add Identity().")

    def assemble(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        modules, outputs = [], []
        for address, body in zip(keys(self.bodies), self.bodies, strict=True):
            module, output = grow(body, x, address=address)
            modules.append(module)
            outputs.append(output)
        combine = combination(self.combine, tuple(outputs))
        return _Branched(nn.ModuleList(modules), combine), combine(*outputs)


class _Branched(nn.Module):
    def __init__(self, bodies: nn.ModuleList, combine: nn.Module) -> None:
        super().__init__()
        self.bodies = bodies
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(*(body(x) for body in self.bodies))
