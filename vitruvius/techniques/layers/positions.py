"""How a network knows the order of tokens: parts of stems and of attention.

Positions are those of the layout, so they restart in each document of a packed row.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.space import Node, hyper, log_uniform, one_of
from vitruvius.techniques.layers.shapes import need_positive


@dataclass(frozen=True)
class Positions(Node, ABC):
    """Where tokens stand: added to embeddings, turned into queries and keys, or into scores."""


@dataclass(frozen=True)
class LearnedPositions(Positions):
    """x[t] + table[position]: a vector for each position, learned. longest * d parameters.

    Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, section 3.
    """

    longest: int = hyper(512, one_of(128, 256, 512, 1024), "positions that there are")

    def check(self) -> None:
        need_positive(self, "longest")

    def build(self, width: int) -> nn.Module:
        return PositionTable(self.longest, width)


@dataclass(frozen=True)
class Rotary(Positions):
    """Queries and keys turned by angles position * theta^(-2 i / d): scores see distances alone.

    Source: Su et al. 2021, "RoFormer", arXiv:2104.09864, section 3.2; the pairs are the halves of a
    head, as in Llama. No parameters.
    """

    theta: float = hyper(10_000.0, log_uniform(1e3, 1e6), "base of the wavelengths")
    share: float = hyper(1.0, None, "part of each head's width that is turned")

    def check(self) -> None:
        if self.theta <= 1:
            raise ValueError(f"Rotary.theta must be above 1; got {self.theta}.")
        if not 0 < self.share <= 1:
            raise ValueError(f"Rotary.share must be above 0 and at most 1; got {self.share}.")

    def build(self, head_width: int) -> nn.Module:
        turned = int(head_width * self.share)
        if turned < 2 or turned % 2:
            raise ValueError(
                f"Rotary turns pairs of numbers; got {turned} of a head of width {head_width}. "
                "Take fewer heads, or a width or Rotary.share that leaves an even number."
            )
        return Turning(turned, self.theta)


@dataclass(frozen=True)
class ALiBi(Positions):
    """Scores lowered by slope * distance, with a slope for each head: 2^(-8 h / H).

    Source: Press, Smith & Lewis 2022, "Train short, test long", arXiv:2108.12409, section 3; of
    networks that look both ways, the distance to either side. No parameters.
    """

    def slopes(self, heads: int) -> tuple[float, ...]:
        """Of each head; where their number is no power of 2, those of the next ones in between."""
        power = 2 ** (heads.bit_length() - 1)
        found = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
        between = [2.0 ** (-4 * (h + 1) / power) for h in range(0, 2 * power, 2)]
        return tuple(found + between[: heads - power])


@dataclass(frozen=True)
class Unplaced(Positions):
    """No positions at all: attention sees a set, or learns order from what is causal.

    Source: Kazemnejad et al. 2023, "The impact of positional encoding on length generalization in
    transformers", arXiv:2305.19466.
    """


class PositionTable(nn.Module):
    """x + table[position]."""

    parameter_kinds = {"weight": "embedding"}  # noqa: RUF012

    def __init__(self, longest: int, width: int) -> None:
        super().__init__()
        self.longest, self.width = longest, width
        self.weight = nn.Parameter(torch.empty(longest, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        return x + nn.functional.embedding(layout.positions, self.weight)


class Turning(nn.Module):
    """Turns the first ``turned`` numbers of each head [B H T d]; angles once per pass."""

    def __init__(self, turned: int, theta: float) -> None:
        super().__init__()
        self.turned, self.theta = turned, theta

    def angles(self, layout: Any, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B 1 T turned / 2]."""
        name = ("angles", self.turned, self.theta)
        if layout.shared is not None and name in layout.shared:
            return layout.shared[name]
        pairs = torch.arange(0, self.turned, 2, device=like.device, dtype=torch.float32)
        speed = 1.0 / self.theta ** (pairs / self.turned)
        angle = layout.positions[:, None, :, None].float() * speed
        found = angle.cos(), angle.sin()
        if layout.shared is not None:
            layout.shared[name] = found
        return found

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        cos, sin = (a.to(x.dtype) for a in self.angles(layout, x))
        first, second = x[..., : self.turned].chunk(2, -1)
        parts = [first * cos - second * sin, second * cos + first * sin]
        if self.turned < x.shape[-1]:
            parts.append(x[..., self.turned :])
        return torch.cat(parts, -1)
