"""Adapters of several domains beside a feed-forward's second map, mixed by a gate.

Source: Diao et al. 2023, "Mixture-of-Domain-Adapters: Decoupling and Injecting Domain Knowledge to
Pre-trained Language Models Memories", arXiv:2306.05406, sections 3.1 to 3.3.
Differs from the paper: the gate has one hidden layer and no dropout, and reads the mean of a
document, its first token or each token, where theirs reads the last position; by default it adds to
what the map gives ("residual"), where theirs shares out ("softmax").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vitruvius.contracts import (
    Branch,
    Fitted,
    Layout,
    Part,
    Site,
    Sites,
    Source,
    Tensors,
    Wanted,
    Wants,
)
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.documents import first_of, mean_of, together
from vitruvius.techniques.sources import Fixed, Free

UPPER = Sites(kinds=("linear",), places=("ffn.down",), depths=(0.6, 1.0))
EVERY = Sites(kinds=("linear",), places=("ffn.down",))
GATES = ("residual", "softmax", "even")
GRAINS = ("document", "first", "token")
OF_DOMAINS = ("down", "down_bias", "up", "up_bias")
"""The tensors that are learned in the first stage, and stay in the second."""


@dataclass(frozen=True)
class DomainMixture(Branch):
    """Beside y = W k, with k the inner activation, o_j = U_j gelu(D_j k + b_j) + c_j for each of K
    domains, mixed by weights that a small network g reads from k.

    "residual": y + sum w_j o_j with w_j = sigmoid(g_j - 2). "softmax": sum w_j o_j + w_0 y, all
    weights together 1; "even": the same with equal weights and no network. U = 0 at the start, so
    that "residual" is unchanged; the others take a part of y away.

    For k of width f and y of width d K (f m + m + m d + d) numbers for each site, and for the gate
    h f + h + n h + n more, with n = K, or K + 1 for "softmax".
    """

    domains: int = hyper(1, None, "number K of domains")
    width: int = hyper(16, one_of(8, 16, 32, 64, 128), "width m of each domain's adapter")
    gate: str = hyper("residual", one_of(*GATES), "how they are mixed")
    grain: str = hyper("document", one_of(*GRAINS), "what the gate reads")
    hidden: int = hyper(32, one_of(16, 32, 64, 128), "width h of the gate's network")
    sites: Sites = hyper(UPPER, one_of(UPPER, EVERY), "beside which second maps")
    source: Source = hyper(Free(), None, "who makes the tensors")

    knob: ClassVar[str] = "width"
    further: ClassVar[tuple[str, ...]] = ("hidden",)

    @property
    def identity(self) -> bool:
        return self.gate == "residual" and self.source.identity

    def check(self) -> None:
        for field in ("domains", "width", "hidden"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"DomainMixture.{field} must be at least 1; got {getattr(self, field)}."
                )
        for field, there in (("gate", GATES), ("grain", GRAINS)):
            if (found := getattr(self, field)) not in there:
                raise ValueError(
                    f"DomainMixture.{field} must be one of {', '.join(there)}; got {found!r}."
                )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def second(self, domains: int) -> DomainMixture:
        """The same for the second stage: so many domains, loaded from ``stacked``, which stay."""
        return self.replace(domains=domains, source=Fixed(OF_DOMAINS))

    def wants(self, site: Site) -> Wants:
        (into,), (out,) = site.sizes["input"], site.sizes["output"]
        sizes: dict[str, tuple[int, ...]] = {
            "down": (self.domains, self.width, into),
            "down_bias": (self.domains, self.width),
            "up": (self.domains, out, self.width),
            "up_bias": (self.domains, out),
        }
        if self.gate != "even":
            answers = self.domains + (self.gate == "softmax")
            sizes |= {
                "gate_down": (self.hidden, into),
                "gate_down_bias": (self.hidden,),
                "gate_up": (answers, self.hidden),
                "gate_up_bias": (answers,),
            }
        drawn = ("down", "gate_down", "gate_up")
        return {
            name: Wanted(torch.Size(size), "kaiming" if name in drawn else "zero")
            for name, size in sizes.items()
        }

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "B T into"],
        y: Float[Tensor, "B T out"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        inner = functional.gelu(_each(x, t["down"]) + _bias(t["down_bias"]))
        made = (inner @ t["up"].mT) + _bias(t["up_bias"])  # [B K T out]
        weight = self.weights(t, x, layout)
        added = (weight[..., : self.domains].mT.unsqueeze(-1) * made).sum(1)
        return y * weight[..., self.domains :] + added if self.shares else y + added, carried

    @property
    def shares(self) -> bool:
        """Whether the base has a weight too, the last."""
        return self.gate != "residual"

    def weights(
        self, t: Tensors, x: Float[Tensor, "B T into"], layout: Layout
    ) -> Float[Tensor, "B T n"]:
        """Of each domain at each token, and of the base after them where it has one."""
        if self.gate == "even":
            return x.new_full((*x.shape[:2], self.domains + 1), 1 / (self.domains + 1))
        read = x
        if self.grain != "token":
            read = (mean_of if self.grain == "document" else first_of)(x, together(x, layout))
        inner = functional.relu(read @ t["gate_down"].mT + _row(t["gate_down_bias"]))
        answer = inner @ t["gate_up"].mT + _row(t["gate_up_bias"])
        return (answer - 2).sigmoid() if self.gate == "residual" else answer.softmax(-1)


def stacked(saved: Sequence[Fitted]) -> Fitted:
    """What the first stage saved of each domain alone, as one, without the gates.

    To be given as ``given.fitted`` where ``DomainMixture.second(len(saved))`` is attached.
    """
    if not saved:
        raise ValueError("stacked needs what was saved of at least one domain; got none.")
    names = [n for n in saved[0].tensors if n.rpartition("/")[2] in OF_DOMAINS]
    for number, one in enumerate(saved[1:], 1):
        if missing := [n for n in names if n not in one.tensors]:
            raise ValueError(
                f"All domains must be saved of the same sites; number {number} has no "
                f"{missing[0]}. Train each with the same DomainMixture."
            )
    return Fitted({name: torch.cat([one.tensors[name] for one in saved]) for name in names})


def _each(x: Float[Tensor, "B T into"], down: Tensor) -> Float[Tensor, "B K T m"]:
    return x.unsqueeze(1) @ down.mT


def _bias(bias: Tensor) -> Tensor:
    """[K m] as [K 1 m]; one for each row [B K m] as [B K 1 m]."""
    return bias.unsqueeze(-2)


def _row(bias: Tensor) -> Tensor:
    return bias if bias.ndim == 1 else bias.unsqueeze(1)
