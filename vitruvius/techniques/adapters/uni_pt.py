"""A small network beside a frozen one, that reads what all its layers give.

Source: Diao et al. 2024, "UniPT: Universal Parallel Tuning for Transfer Learning with Efficient
Parameter and Memory", arXiv:2308.14316, section 3 (parallel interaction, confidence aggregation).
Differs from the paper: by default what it finds is added to what the base gives, and starts at
zero; one map down may serve all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vitruvius.contracts import Layout, Part, Reader, Site, Sites, Source, Tensors, Wanted, Wants
from vitruvius.contracts.adapters import Start
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.documents import first_of, mean_of, together
from vitruvius.techniques.sources import Free

LAYERS = Sites(kinds=("layer", "output"))
POOLS = ("mean", "cls")


@dataclass(frozen=True)
class UniPT(Reader):
    """h + up relu(A + V sum b_i M_i), with A the last layer narrowed to k, M_i = (R_i + 1) T_i for
    each layer below, narrowed to T_i, and b its confidence.

    R_i = relu(A T_i') within a document, each row divided by its sum; b = softmax over layers of
    c (a * t_i), with a and t_i the means of A and T_i over a document. T_i and V A are normed. No
    gradient enters the base, and nothing of it is kept for the backward pass.

    Of width d, (k d + 3 k) for each of the L layers, k k + 3 k + k + d k + d for the rest. up = 0
    at the start, so that the model is unchanged; not so where it replaces.
    """

    width: int = hyper(64, one_of(16, 32, 64, 128, 192), "width k of the network beside")
    replace_hidden: bool = hyper(False, one_of(False, True), "in place of what the base gives")
    pool: str = hyper("mean", one_of(*POOLS), "what stands for a document in confidences")
    sites: Sites = hyper(LAYERS, None, "which layers it reads, and the output")
    source: Source = hyper(Free(), None, "who makes the tensors")

    knob: ClassVar[str] = "width"

    @property
    def identity(self) -> bool:
        return not self.replace_hidden and self.source.identity

    def check(self) -> None:
        if self.width < 1:
            raise ValueError(f"UniPT.width must be at least 1; got {self.width}.")
        if self.pool not in POOLS:
            raise ValueError(f"UniPT.pool must be one of {', '.join(POOLS)}; got {self.pool!r}.")

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        (width,) = site.sizes["output"]
        if site.kind == "layer":
            sizes = {"down": (self.width, width), "down_bias": (self.width,)}
            sizes |= _norm(self.width)
            return {name: Wanted(torch.Size(size), _start(name)) for name, size in sizes.items()}
        if site.kind != "output":
            return {}
        sizes = {
            "mix": (self.width, self.width),
            "mix_bias": (self.width,),
            "confidence": (self.width,),
            "up": (width, self.width),
            "up_bias": (width,),
            **_norm(self.width),
        }
        wants = {name: Wanted(torch.Size(size), _start(name)) for name, size in sizes.items()}
        if self.replace_hidden:
            wants["up"] = Wanted(torch.Size((width, self.width)), "kaiming")
        return wants

    def read(
        self, t: Mapping[str, Tensors], taps: Tensors, layout: Layout
    ) -> Float[Tensor, "B T d"]:
        hidden, own = taps["hidden"], t.get("output")
        if own is None:
            raise ValueError(
                "UniPT.sites must mean the output too; got layers alone. Take kinds layer, output."
            )
        names = sorted((n for n in t if n != "output"), key=lambda n: int(n.split(".")[1]))
        same = together(hidden, layout)
        narrowed = [self._narrowed(t[name], taps[name]) for name in names]
        anchor, below = narrowed[-1], narrowed[:-1]
        found = anchor
        if below:
            weights = self.confidences(own["confidence"], anchor, below, same)
            mixed = torch.zeros_like(anchor)
            for number, one in enumerate(below):
                seen = interaction(anchor, one, same) @ one + one
                mixed = mixed + weights[..., number : number + 1] * seen
            mixed = functional.linear(mixed, own["mix"], own["mix_bias"])
            found = anchor + _normed(mixed, own)
        made = functional.linear(functional.relu(found), own["up"], own["up_bias"])
        return made if self.replace_hidden else hidden + made

    def confidences(
        self,
        scorer: Float[Tensor, " k"],
        anchor: Float[Tensor, "B T k"],
        below: list[Tensor],
        same: Bool[Tensor, "B T T"],
    ) -> Float[Tensor, "B T L"]:
        """Of each layer in the document of each token; together 1."""
        pooled = mean_of if self.pool == "mean" else first_of
        first = pooled(anchor, same)
        scores = [((first * pooled(one, same)) @ scorer) for one in below]
        return torch.stack(scores, -1).softmax(-1)

    def _narrowed(self, t: Tensors, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T k"]:
        return _normed(functional.linear(x, t["down"], t["down_bias"]), t)


def interaction(
    anchor: Float[Tensor, "B T k"], other: Float[Tensor, "B T k"], same: Bool[Tensor, "B T T"]
) -> Float[Tensor, "B T T"]:
    """relu(A T') within documents, each row divided by its sum; rows of zeros stay so."""
    alike = functional.relu(anchor @ other.mT) * same
    return alike / alike.sum(2, keepdim=True).clamp(min=1e-6)


def _normed(x: Tensor, t: Tensors) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], t["norm"], t["norm_bias"])


def _norm(width: int) -> dict[str, tuple[int, ...]]:
    return {"norm": (width,), "norm_bias": (width,)}


def _start(name: str) -> Start:
    if name == "norm":
        return "one"
    return "kaiming" if name in ("down", "mix", "confidence") else "zero"
