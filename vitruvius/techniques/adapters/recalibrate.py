"""A scale and a shift of every feed-forward, read from what it reads.

Source: Gao et al. 2023, "Tuning Pre-trained Model via Moment Probing", arXiv:2307.11342, section
3.3 (partially shared recalibration, the "+" of MP+).
Differs from the paper: it reads what the feed-forward reads, which is after the norm where the norm
comes first; both maps start at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vitruvius.contracts import Branch, Layout, Part, Site, Sites, Source, Tensors, Wanted, Wants
from vitruvius.space import hyper, one_of
from vitruvius.techniques.sources import Free

FEED_FORWARDS = Sites(kinds=("ffn",))


@dataclass(frozen=True)
class Recalibrate(Branch):
    """shift + (1 + scale) y with scale = G u, shift = B u and u = relu(D x), without biases.

    r (d + 2 d) numbers for each site of width d. G = B = 0 at the start, so that the model is
    unchanged; not so with ``zero`` False, as in the paper's code.
    """

    width: int = hyper(16, one_of(2, 4, 8, 16, 32, 64), "width r that both share")
    zero: bool = hyper(True, one_of(True, False), "whether G and B start at zero")
    sites: Sites = hyper(FEED_FORWARDS, None, "of which parts")
    source: Source = hyper(Free(), None, "who makes the three maps")

    knob: ClassVar[str] = "width"

    @property
    def identity(self) -> bool:
        return self.zero and self.source.identity

    def check(self) -> None:
        if self.width < 1:
            raise ValueError(
                f"Recalibrate.width must be at least 1; got {self.width}. "
                "For no scales, take LinearProbe."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        (into,), (out,) = site.sizes["input"], site.sizes["output"]
        start = "zero" if self.zero else "kaiming"
        return {
            "down": Wanted(torch.Size((self.width, into)), "kaiming"),
            "scale": Wanted(torch.Size((out, self.width)), start),
            "shift": Wanted(torch.Size((out, self.width)), start),
        }

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "*B into"],
        y: Float[Tensor, "*B out"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        shared = functional.relu(x @ t["down"].mT)
        return shared @ t["shift"].mT + (1 + shared @ t["scale"].mT) * y, carried
