"""Small networks beside or behind the parts of a layer: the grammar of adapters.

Source: He et al. 2022, "Towards a unified view of parameter-efficient transfer learning",
arXiv:2110.04366, sections 3.2 (the design dimensions) and 4 (parallel, scaled); serial ones from
Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, section 2.1.
Differs from the papers: a gate is one number for each site, that of softmax is what ``Prefix`` has;
bottlenecks of heads are ``HeadBottlenecks``.
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
ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}
ORDERS = ("parallel", "serial")
COMPOSITIONS = ("add", "scaled", "learned", "gated")
STARTS = ("zero", "normal")


@dataclass(frozen=True)
class Bottleneck(Branch):
    """From y, what a part of a layer gives before the residual is added, to y + s g with
    g = up f(down x + b) + c: x is what the part reads, or y again in series.

    The composition says what s is: 1 ("add"), ``scale`` ("scaled"), one number that trains from 1
    ("learned"); "gated" is (1 - l) y + l g with l = tanh of one that trains from 0. Of width d,
    2 d r + r + d numbers for each site, 1 more with a number that trains. up = 0 at the start, or
    the gate is, so that the model is unchanged; not so where up starts "normal".

    Without an activation the two biases are left out: 2 d r numbers, and beside a linear map what
    is learned can be merged.
    """

    width: int = hyper(16, one_of(4, 8, 16, 32, 64), "width r of the bottleneck")
    order: str = hyper("parallel", one_of(*ORDERS), "reads what the site reads, or what it gives")
    composition: str = hyper("scaled", one_of(*COMPOSITIONS), "how it is put to what there is")
    scale: float = hyper(4.0, log_uniform(0.25, 16.0), "strength of what is added, where scaled")
    activation: str = hyper("relu", one_of(*ACTIVATIONS), "the function f")
    up: str = hyper("zero", one_of(*STARTS), "how the map back starts, where nothing gates it")
    sites: Sites = hyper(FEED_FORWARDS, one_of(FEED_FORWARDS, ATTENTIONS, BOTH), "beside what")
    source: Source = hyper(Free(), None, "who makes the tensors")

    @property
    def identity(self) -> bool:
        return self.source.identity and (self.up == "zero" or self.composition == "gated")

    knob: ClassVar[str] = "width"

    def check(self) -> None:
        if self.width < 1:
            raise ValueError(
                f"Bottleneck.width must be at least 1; got {self.width}. "
                "For no branch, take LinearProbe."
            )
        if self.scale <= 0:
            raise ValueError(f"Bottleneck.scale must be above 0; got {self.scale}.")
        for field, there in (
            ("order", ORDERS),
            ("composition", COMPOSITIONS),
            ("activation", tuple(ACTIVATIONS)),
            ("up", STARTS),
        ):
            if (found := getattr(self, field)) not in there:
                raise ValueError(
                    f"Bottleneck.{field} must be one of {', '.join(there)}; got {found!r}."
                )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        (into,), (out,) = site.sizes["input"], site.sizes["output"]
        gated = self.composition == "gated"
        up = "kaiming" if gated else "normal" if self.up == "normal" else "zero"
        wants = {
            "down": Wanted(torch.Size((self.width, self._read(into, out))), "kaiming"),
            "up": Wanted(torch.Size((out, self.width)), up),
        }
        if self.activation != "identity":
            wants["down_bias"] = Wanted(torch.Size((self.width,)))
            wants["up_bias"] = Wanted(torch.Size((out,)))
        if gated:
            wants["gate"] = Wanted(torch.Size((1,)))
        if self.composition == "learned":
            wants["scale"] = Wanted(torch.Size((1,)), "one")
        return wants

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "*B into"],
        y: Float[Tensor, "*B out"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        made = narrow(t, y if self.order == "serial" else x, self.activation)
        if self.composition == "gated":
            return y + rows(t["gate"]).tanh() * (made - y), carried
        return y + self._strength(t) * made, carried

    def delta(self, t: Tensors, weight: Tensor) -> Tensor | None:
        """s up down, where that is all it does to a linear map of x."""
        plain = self.activation == "identity" and self.order == "parallel"
        if not plain or self.composition == "gated":
            return None
        return self._strength(t) * t["up"] @ t["down"]

    def _strength(self, t: Tensors) -> float | Tensor:
        if self.composition == "learned":
            return rows(t["scale"])
        return self.scale if self.composition == "scaled" else 1.0

    def _read(self, into: int, out: int) -> int:
        return out if self.order == "serial" else into


def narrow(t: Tensors, x: Float[Tensor, "*B into"], activation: str) -> Float[Tensor, "*B out"]:
    """up f(down x + down_bias) + up_bias; without biases where there are none."""
    inner, biased = x @ t["down"].mT, "down_bias" in t
    inner = ACTIVATIONS[activation](inner + rows(t["down_bias"]) if biased else inner)
    made = inner @ t["up"].mT
    return made + rows(t["up_bias"]) if biased else made


def rows(bias: Tensor) -> Tensor:
    """[d] as it is; one for each row [B d] as [B 1 d]."""
    return bias if bias.ndim == 1 else bias.unsqueeze(1)
