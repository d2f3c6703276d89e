"""Small networks behind attention and feed-forward, as adapters began.

Source: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751,
section 2.1; as a point of the grammar in He et al. 2022, arXiv:2110.04366, table 1.
Differs from the paper: norms of the base do not train, and the map back starts at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitruvius.contracts import Adapter, Part, Source
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.bottleneck import ACTIVATIONS, BOTH, Bottleneck
from vitruvius.techniques.sources import Free


@dataclass(frozen=True)
class Houlsby(Adapter):
    """y + up f(down y + b) + c behind the attention and the feed-forward of each layer.

    2 (2 d r + r + d) numbers for each layer of width d. up = 0 at the start, so that the model is
    unchanged.
    """

    width: int = hyper(16, one_of(4, 8, 16, 32, 64), "width r of each bottleneck")
    activation: str = hyper("gelu", one_of(*ACTIVATIONS), "the function f")
    source: Source = hyper(Free(), None, "who makes the tensors")

    knob: ClassVar[str] = "width"

    @property
    def identity(self) -> bool:
        return self.source.identity

    def check(self) -> None:
        self._bottleneck()

    def parts(self) -> tuple[Part, ...]:
        return self._bottleneck().parts()

    def _bottleneck(self) -> Bottleneck:
        return Bottleneck(
            self.width,
            "serial",
            "add",
            activation=self.activation,
            sites=BOTH,
            source=self.source,
        )
