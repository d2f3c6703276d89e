"""Keys and values of their own in every attention.

Source: Li & Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation",
arXiv:2101.00190, section 4; He et al. 2022, "Towards a unified view of parameter-efficient transfer
learning", arXiv:2110.04366, section 3.1, for what it computes.
Differs from the papers: keys and values train as they are unless their source is
``Reparametrised``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vitruvius.contracts import ExtraTokens, Part, Site, Sites, Source, Wanted, Wants
from vitruvius.space import hyper, one_of
from vitruvius.techniques.sources import Free

ATTENTIONS = Sites(kinds=("attention",))


@dataclass(frozen=True)
class Prefix(ExtraTokens):
    """Every token attends to ``length`` keys and values more, which train.

    What a head gives is then (1 - l) h + l softmax(q K' / sqrt(d)) V with h what it gave, K and V
    those of the prefix and l their share of the attention: a bottleneck of width ``length`` whose
    function is softmax, with a gate.

    2 length (key width) numbers for each attention. The model is not unchanged at the start: the
    new keys take their share of the attention, whatever the values are.
    """

    length: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "keys and values of each attention")
    scale: float = hyper(0.02, None, "deviation that keys and values start with")
    sites: Sites = hyper(ATTENTIONS, None, "which attentions")
    source: Source = hyper(Free(), None, "who makes them")

    knob: ClassVar[str] = "length"

    @property
    def identity(self) -> bool:
        return False

    def check(self) -> None:
        if self.length < 1:
            raise ValueError(
                f"Prefix.length must be at least 1; got {self.length}. "
                "For no prefix, take LinearProbe."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        if "key" not in site.sizes:
            return {}
        (width,) = site.sizes["key"]
        size = torch.Size((self.length, width))
        return {name: Wanted(size, "normal", self.scale) for name in ("key", "value")}
