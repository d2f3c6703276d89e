"""Small networks beside or behind the parts of a layer.

Source: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751,
section 2.1 (serial), and He et al. 2022, "Towards a unified view of parameter-efficient transfer
learning", arXiv:2110.04366, sections 3.2 and 4 (parallel, scaled).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vitruvius.contracts import Branch, Layout, Part, Site, Sites, Source, Tensors, Wanted, Wants
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.sources import Free

FEED_FORWARDS = Sites(kinds=("ffn",))
ATTENTIONS = Sites(kinds=("attention",))
BOTH = Sites(kinds=("attention", "ffn"))
ACTIVATIONS = {"relu": functional.relu, "gelu": functional.gelu, "identity": lambda x: x}


@dataclass(frozen=True)
class Bottleneck(Branch):
    """y + scale (up f(down x + b) + c): x is what a part of a layer reads, or in series what it
    gives, y what it gives, before the residual is added.

    2 d r + r + d numbers for each site of width d. up = 0 at the start, so that the model is
    unchanged. Without an activation, beside a linear map, it can be merged.
    """

    width: int = hyper(16, one_of(4, 8, 16, 32, 64), "width r of the bottleneck")
    order: str = hyper(
        "parallel", one_of("parallel", "serial"), "reads what the site reads, or what it gives"
    )
    scale: float = hyper(4.0, log_uniform(0.25, 16.0), "strength of what is added")
    activation: str = hyper("relu", one_of("relu", "gelu", "identity"), "the function f")
    sites: Sites = hyper(FEED_FORWARDS, one_of(FEED_FORWARDS, ATTENTIONS, BOTH), "beside what")
    source: Source = hyper(Free(), None, "who makes the four tensors")

    knob: ClassVar[str] = "width"

    def check(self) -> None:
        if self.width < 1:
            raise ValueError(
                f"Bottleneck.width must be at least 1; got {self.width}. "
                "For no branch, take LinearProbe."
            )
        if self.scale <= 0:
            raise ValueError(f"Bottleneck.scale must be above 0; got {self.scale}.")
        if self.order not in ("parallel", "serial"):
            raise ValueError(
                f"Bottleneck.order must be 'parallel' or 'serial'; got {self.order!r}."
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"Bottleneck.activation must be one of {', '.join(ACTIVATIONS)}; "
                f"got {self.activation!r}."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        (into,), (out,) = site.sizes["input"], site.sizes["output"]
        read = out if self.order == "serial" else into
        return {
            "down": Wanted(torch.Size((self.width, read)), "kaiming"),
            "down_bias": Wanted(torch.Size((self.width,))),
            "up": Wanted(torch.Size((out, self.width))),
            "up_bias": Wanted(torch.Size((out,))),
        }

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "B T d"],
        y: Float[Tensor, "B T d"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        read = y if self.order == "serial" else x
        narrow = ACTIVATIONS[self.activation](read @ t["down"].mT + _rows(t["down_bias"]))
        return y + self.scale * (narrow @ t["up"].mT + _rows(t["up_bias"])), carried


def _rows(bias: Tensor) -> Tensor:
    """[d] as it is; one for each row [B d] as [B 1 d]."""
    return bias if bias.ndim == 1 else bias.unsqueeze(1)
