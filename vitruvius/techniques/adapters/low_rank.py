"""Low-rank updates of weights.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685,
section 4.1.
Differs from the paper: A is drawn as torch draws the weight of a linear map, as the authors' code
has it; kernels of convolutions are updated as matrices [out, in k k].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import Part, Site, Sites, Source, Tensors, Wanted, Wants, WeightDelta
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.sources import Free

QUERIES_AND_VALUES = Sites(kinds=("linear",), places=("attention.query", "attention.value"))
ATTENTION = Sites(
    kinds=("linear",),
    places=("attention.query", "attention.key", "attention.value", "attention.out"),
)
LINEARS = Sites(kinds=("linear",))


@dataclass(frozen=True)
class LowRank(WeightDelta):
    """Train W + (alpha / rank) B A in place of W, with W frozen.

    rank (in + out) numbers for each weight. B = 0 at the start, so that the model is unchanged. In
    training the product is taken factor by factor: 2 rank (in + out) FLOPs for each token more.
    """

    rank: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "rank of the update")
    alpha: float = hyper(16.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of what A reads")
    sites: Sites = hyper(
        QUERIES_AND_VALUES, one_of(QUERIES_AND_VALUES, ATTENTION, LINEARS), "whose weights"
    )
    source: Source = hyper(Free(), None, "who makes A and B")

    knob: ClassVar[str] = "rank"

    def check(self) -> None:
        if self.rank < 1:
            raise ValueError(
                f"LowRank.rank must be at least 1; got {self.rank}. "
                "For no update, take LinearProbe."
            )
        if self.alpha <= 0:
            raise ValueError(
                f"LowRank.alpha must be above 0; got {self.alpha}. For no update, take LinearProbe."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LowRank.dropout must be at least 0 and below 1; got {self.dropout}.")

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        if "weight" not in site.sizes or len(site.sizes["weight"]) < 2:
            return {}
        out, *rest = site.sizes["weight"]
        into = torch.Size(rest).numel()
        if self.rank > min(out, into):
            raise ValueError(
                f"LowRank.rank must be at most the smaller side of each matrix; got {self.rank} "
                f"for {site.path} of {out} x {into}. Take {min(out, into)} or less."
            )
        return {
            "a": Wanted(torch.Size((self.rank, into)), "kaiming"),
            "b": Wanted(torch.Size((out, self.rank))),
        }

    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        made = self.alpha / self.rank * t["b"] @ t["a"]
        return made.reshape(*made.shape[:-2], *weight.shape)

    def forward(self, t: Tensors, x: Float[Tensor, "B T in"], module: nn.Module) -> Tensor | None:
        if not isinstance(module, nn.Linear):
            return None
        if self.dropout:
            x = nn.functional.dropout(x, self.dropout, module.training)
        return (x @ t["a"].mT) @ (self.alpha / self.rank * t["b"]).mT

    def cut(self, t: Tensors, shape: torch.Size, axis: int, kept: Tensor) -> Tensors:
        if axis == 0:
            return {**t, "b": t["b"][kept]}
        a = t["a"].reshape(-1, *shape[1:]).index_select(axis, kept)
        return {**t, "a": a.flatten(1)}
