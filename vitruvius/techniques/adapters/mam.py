"""A few keys and values in every attention and a wide bottleneck beside every feed-forward.

Source: He et al. 2022, "Towards a unified view of parameter-efficient transfer learning",
arXiv:2110.04366, section 4.6 (MAM adapter).
Differs from the paper: the prefix trains as it is unless its source is ``Reparametrised``; there is
no cross-attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitruvius.contracts import Adapter, Part, Source
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.bottleneck import Bottleneck
from vitruvius.techniques.adapters.prefix import Prefix
from vitruvius.techniques.sources import Free


@dataclass(frozen=True)
class MAM(Adapter):
    """Prefix on attention, scaled parallel Bottleneck on the feed-forward.

    2 l (key width) + 2 d r + r + d numbers for each layer of width d. The model is not unchanged at
    the start: the new keys take their share of the attention.
    """

    length: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "keys and values l of each attention")
    width: int = hyper(16, one_of(4, 8, 16, 32, 64), "width r of each bottleneck")
    scale: float = hyper(4.0, log_uniform(0.25, 16.0), "strength of the bottlenecks")
    keys: Source = hyper(Free(), None, "who makes keys and values")
    source: Source = hyper(Free(), None, "who makes the tensors of the bottlenecks")

    knob: ClassVar[str] = "width"
    further: ClassVar[tuple[str, ...]] = ("length",)

    @property
    def identity(self) -> bool:
        return False

    def check(self) -> None:
        self.parts()

    def parts(self) -> tuple[Part, ...]:
        prefix = Prefix(self.length, source=self.keys)
        return (
            *prefix.parts(),
            *Bottleneck(self.width, scale=self.scale, source=self.source).parts(),
        )
