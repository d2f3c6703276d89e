"""A small network beside each head of an attention.

Source: He et al. 2022, "Towards a unified view of parameter-efficient transfer learning",
arXiv:2110.04366, section 4.4 (multi-head parallel adapters).
Differs from the paper: each network has biases, as ``Bottleneck`` has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitruvius.contracts import Branch, Layout, Part, Site, Sites, Source, Tensors, Wanted, Wants
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.bottleneck import ACTIVATIONS, ATTENTIONS, rows
from vitruvius.techniques.sources import Free


@dataclass(frozen=True)
class HeadBottlenecks(Branch):
    """From y_h, what head h gives, to y_h + scale (up_h f(down_h x + b_h) + c_h): x is what the
    attention reads, and the map back reads the sum.

    As a prefix does it changes each head by itself, without its softmax. For H heads of width w and
    an input of width d H (r d + r + r w + w) numbers for each attention. up = 0 at the start, so
    that the model is unchanged.
    """

    width: int = hyper(4, one_of(1, 2, 4, 8, 16), "width r of the bottleneck of a head")
    scale: float = hyper(4.0, log_uniform(0.25, 16.0), "strength of what is added")
    activation: str = hyper("relu", one_of("relu", "gelu", "identity"), "the function f")
    sites: Sites = hyper(ATTENTIONS, None, "of which attentions")
    source: Source = hyper(Free(), None, "who makes the tensors")

    knob: ClassVar[str] = "width"
    of_heads: ClassVar[bool] = True

    @property
    def identity(self) -> bool:
        return self.source.identity

    def check(self) -> None:
        if self.width < 1:
            raise ValueError(
                f"HeadBottlenecks.width must be at least 1; got {self.width}. "
                "For no branch, take LinearProbe."
            )
        if self.scale <= 0:
            raise ValueError(f"HeadBottlenecks.scale must be above 0; got {self.scale}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"HeadBottlenecks.activation must be one of {', '.join(ACTIVATIONS)}; "
                f"got {self.activation!r}."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        """None where the attention does not say how many heads it has."""
        if "heads" not in site.sizes:
            return {}
        (into,), (heads, width) = site.sizes["input"], site.sizes["heads"]
        inner = heads * self.width
        return {
            "down": Wanted(torch.Size((inner, into)), "kaiming"),
            "down_bias": Wanted(torch.Size((inner,))),
            "up": Wanted(torch.Size((heads, width, self.width))),
            "up_bias": Wanted(torch.Size((heads * width,))),
        }

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "B T into"],
        y: Float[Tensor, "B T out"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        inner = ACTIVATIONS[self.activation](x @ t["down"].mT + rows(t["down_bias"]))
        by_head = inner.unflatten(-1, (-1, self.width))
        up = "hwr" if t["up"].ndim == 3 else "bhwr"
        made = torch.einsum(f"bthr,{up}->bthw", by_head, t["up"]).flatten(2)
        return y + self.scale * (made + rows(t["up_bias"])), carried
