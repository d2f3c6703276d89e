"""Tokens of their own among those of a document.

Source: Lester, Al-Rfou & Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning",
arXiv:2104.08691, section 2 (before the first layer); Jia et al. 2022, "Visual Prompt Tuning",
arXiv:2203.12119, section 3.2 (before every layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vitruvius.contracts import ExtraTokens, Part, Site, Sites, Source, Wanted, Wants
from vitruvius.space import hyper, one_of
from vitruvius.techniques.sources import Free

EVERY = Sites(kinds=("layer",))
FIRST = Sites(kinds=("layer",), depths=(0.0,))


@dataclass(frozen=True)
class Prompts(ExtraTokens):
    """``length`` tokens in front of each document, at position 0, or after the patches of an image.

    length d numbers for each layer that has its own; each takes the place of those of the layer
    before. The model is not unchanged at the start: its tokens attend to the new ones. A layer with
    a window sees them from its first tokens alone.
    """

    length: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "tokens")
    scale: float = hyper(0.02, None, "deviation that they start with")
    sites: Sites = hyper(EVERY, one_of(EVERY, FIRST), "before every layer (deep), or the first")
    source: Source = hyper(Free(), None, "who makes them")

    knob: ClassVar[str] = "length"

    @property
    def identity(self) -> bool:
        return False

    def check(self) -> None:
        if self.length < 1:
            raise ValueError(
                f"Prompts.length must be at least 1; got {self.length}. "
                "For no tokens more, take LinearProbe."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        (width,) = site.sizes["input"]
        return {"tokens": Wanted(torch.Size((self.length, width)), "normal", self.scale)}
