"""Several adapters on one model at once.

Source: Mao et al. 2022, "UniPELT", arXiv:2110.07577, section 2, and He et al. 2022, "Towards a
unified view of parameter-efficient transfer learning", arXiv:2110.04366, section 4.6: what a mix
of edits at different places can do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitruvius.contracts import Adapter, Part
from vitruvius.space import hyper
from vitruvius.techniques.adapters.linear_probe import LinearProbe
from vitruvius.techniques.adapters.low_rank import LowRank


@dataclass(frozen=True)
class Together(Adapter):
    """The parts of all its adapters, attached and trained as one.

    Trains what each of them trains, and is unchanged at the start where each is.
    """

    adapters: tuple[Adapter, ...] = hyper(..., doc="what is attached, in this order")

    def check(self) -> None:
        if not self.adapters:
            raise ValueError("Together.adapters must hold at least one adapter; got none.")

    @classmethod
    def example(cls) -> Together:
        return cls((LowRank(), LinearProbe()))

    @property
    def identity(self) -> bool:
        return all(adapter.identity for adapter in self.adapters)

    @property
    def frozen(self) -> bool:
        return all(adapter.frozen for adapter in self.adapters)

    def settled(self, numbers: int, count: Callable[[Adapter], int]) -> Adapter:
        inner = tuple(adapter.settled(numbers, count) for adapter in self.adapters)
        same = all(one is other for one, other in zip(inner, self.adapters, strict=True))
        return self if same else self.replace(adapters=inner)

    def parts(self) -> tuple[Part, ...]:
        return tuple(part for adapter in self.adapters for part in adapter.parts())
