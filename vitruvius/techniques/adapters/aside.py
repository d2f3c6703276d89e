"""Small networks beside whole layers, so that what trains is one path from input to output.

Source: Ma et al. 2022, "Scattered or Connected? An Optimized Parameter-efficient Tuning Approach
for Information Retrieval", arXiv:2208.09847, section 4 (aside modules of IAA).
Differs from the paper: beside a layer it adds after the layer's last norm, where there is one;
beside the parts of a layer it reads what they read; "carried" is this project's own reading of a
connected variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitruvius.contracts import Branch, Layout, Part, Site, Sites, Source, Tensors, Wanted, Wants
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.bottleneck import ACTIVATIONS, narrow, rows
from vitruvius.techniques.sources import Free

VARIANTS = {"layer": ("layer",), "sublayer": ("attention", "ffn"), "carried": ("layer",)}


@dataclass(frozen=True)
class Aside(Branch):
    """y + scale (up f(down x + b) + c) beside each layer, or each attention and feed-forward.

    Gradients pass from the last of them to the first even where what stands beside gives none.
    "carried" hands a state on: u' = u + f(down x + pass u + b) and y + scale up u', with u = 0
    before the first layer. L (2 d r + r + d) numbers for L layers of width d, twice that beside
    their parts, L (2 d r + r r + r) carried. up = 0 at the start, so that the model is unchanged.

    Beside ``LowRank`` by ``Together`` it is the paper's best.
    """

    variant: str = hyper("layer", one_of(*VARIANTS), "beside layers, their parts, or handing on")
    width: int = hyper(8, one_of(2, 4, 8, 16, 32, 64), "width r of each")
    scale: float = hyper(1.0, log_uniform(0.1, 4.0), "strength of what is added")
    activation: str = hyper("relu", one_of("relu", "gelu", "identity"), "the function f")
    depths: tuple[float, ...] = hyper((), None, "of the layers, 0 first and 1 last; empty: all")
    source: Source = hyper(Free(), None, "who makes the tensors")

    knob: ClassVar[str] = "width"

    @property
    def identity(self) -> bool:
        return self.source.identity

    def check(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(
                f"Aside.variant must be one of {', '.join(VARIANTS)}; got {self.variant!r}."
            )
        if self.width < 1:
            raise ValueError(f"Aside.width must be at least 1; got {self.width}.")
        if self.scale <= 0:
            raise ValueError(f"Aside.scale must be above 0; got {self.scale}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"Aside.activation must be one of {', '.join(ACTIVATIONS)}; "
                f"got {self.activation!r}."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(Sites(VARIANTS[self.variant], depths=self.depths), self, self.source),)

    def wants(self, site: Site) -> Wants:
        (into,), (out,) = site.sizes["input"], site.sizes["output"]
        wants = {
            "down": Wanted(torch.Size((self.width, into)), "kaiming"),
            "down_bias": Wanted(torch.Size((self.width,))),
            "up": Wanted(torch.Size((out, self.width))),
        }
        if self.variant == "carried":
            return wants | {"pass": Wanted(torch.Size((self.width, self.width)), "kaiming")}
        return wants | {"up_bias": Wanted(torch.Size((out,)))}

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "*B into"],
        y: Float[Tensor, "*B out"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        if self.variant != "carried":
            return y + self.scale * narrow(t, x, self.activation), None
        inner = x @ t["down"].mT + rows(t["down_bias"])
        before = torch.zeros_like(inner) if carried is None else carried
        state = before + ACTIVATIONS[self.activation](inner + before @ t["pass"].mT)
        return y + self.scale * (state @ t["up"].mT), state
