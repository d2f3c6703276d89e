"""Updates of weights of any order: a small core with one thin factor for each axis.

Source: Si et al. 2024, "FLoRA: Low-rank core space for n-dimension", arXiv:2405.14739, sections 3.2
and 3.3.
Differs from the paper: in training the update is never built, its factors are applied one after the
other; the axis of inputs is that of a group, so that grouped and depthwise convolutions have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.contracts import Part, Site, Sites, Source, Tensors, Wanted, Wants, WeightDelta
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.low_rank import ATTENTION, LINEARS, QUERIES_AND_VALUES
from vitruvius.techniques.sources import Free

CONVOLUTIONS = Sites(kinds=("convolution",))
LETTERS = "abcdefgh"  # ranks of the axes; the axes themselves are in capitals


@dataclass(frozen=True)
class Tucker(WeightDelta):
    """Train W + scale G x_1 A_1 x_2 ... x_n A_n in place of W, of axes d_1 ... d_n.

    r_1 ... r_n + sum of d_i r_i numbers for each weight. G = 0 at the start, so that the model is
    unchanged. A linear map is three products; a convolution one of 1 x 1, one of the small kernel
    with the stride, padding and dilation of the base, and one of 1 x 1. A rank larger than its axis
    is refused, but for what cannot have it: kernels of size 1, and inputs of groups, which have
    their whole axis.
    """

    rank: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "rank of outputs and of inputs")
    kernel_rank: int = hyper(2, one_of(1, 2, 3), "rank of each axis of a kernel")
    scale: float = hyper(1.0, log_uniform(0.04, 4.0), "strength of the update")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of what the first factor reads")
    sites: Sites = hyper(
        QUERIES_AND_VALUES, one_of(QUERIES_AND_VALUES, ATTENTION, LINEARS), "whose weights"
    )
    source: Source = hyper(Free(), None, "who makes the core and the factors")

    knob: ClassVar[str] = "rank"
    further: ClassVar[tuple[str, ...]] = ("kernel_rank",)

    def check(self) -> None:
        for name in ("rank", "kernel_rank"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Tucker.{name} must be at least 1; got {getattr(self, name)}. "
                    "For no update, take LinearProbe."
                )
        if self.scale <= 0:
            raise ValueError(f"Tucker.scale must be above 0; got {self.scale}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Tucker.dropout must be at least 0 and below 1; got {self.dropout}.")

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        if len(site.sizes.get("weight", ())) < 2:
            return {}
        axes = site.sizes["weight"]
        ranks = self.ranks(site)
        return {
            "core": Wanted(torch.Size(ranks)),
            **{
                f"factor_{axis}": Wanted(torch.Size((size, rank)), "kaiming")
                for axis, (size, rank) in enumerate(zip(axes, ranks, strict=True))
            },
        }

    def ranks(self, site: Site) -> tuple[int, ...]:
        """Of each axis of its weight."""
        out, into, *kernel = site.sizes["weight"]
        grouped = site.kind == "convolution" and into < site.sizes["input"][0]
        found = [self.rank, min(self.rank, into) if grouped else self.rank]
        found += [1 if size == 1 else self.kernel_rank for size in kernel]
        for axis, (size, rank) in enumerate(zip((out, into, *kernel), found, strict=True)):
            if rank > size:
                name = "rank" if axis < 2 else "kernel_rank"
                raise ValueError(
                    f"Tucker.{name} must be at most the size of each axis; got {rank} for axis "
                    f"{axis} of {site.path}, which has {size}. Take {size} or less."
                )
        return tuple(found)

    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        return self.scale * product(t["core"], [t[f"factor_{n}"] for n in range(weight.ndim)])

    def forward(self, t: Tensors, x: Tensor, module: nn.Module) -> Tensor | None:
        plain = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        if not plain and not isinstance(module, nn.Linear):
            return None
        if self.dropout:
            x = functional.dropout(x, self.dropout, module.training)
        if plain:
            return self.scale * convolved(t, x, module)
        return (x @ t["factor_1"]) @ (self.scale * t["core"]).mT @ t["factor_0"].mT

    def cut(self, t: Tensors, shape: torch.Size, axis: int, kept: Tensor) -> Tensors:
        name = f"factor_{axis}"
        return {**t, name: t[name][kept]}


def product(core: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """[d_1 ... d_n] of a core [r_1 ... r_n] and factors [d_i r_i].

    Each may have a first axis B more.
    """
    small = LETTERS[: len(factors)]
    terms = ",".join(f"...{letter.upper()}{letter}" for letter in small)
    return torch.einsum(f"...{small},{terms}->...{small.upper()}", core, *factors)


def convolved(t: Tensors, x: Tensor, module: Any) -> Tensor:
    """What a convolution with the update as its kernel gives for x [B in ...], factor by factor.

    Each group of channels is a row of its own on the way.
    """
    out, into, *along = (t[f"factor_{axis}"] for axis in range(module.weight.ndim))
    rows, space, groups = len(x), x.shape[2:], module.groups
    kernel = product(t["core"], along)  # [r_out r_in k ...]
    x = into.mT @ x.reshape(rows * groups, into.shape[0], space.numel())
    x = x.reshape(*x.shape[:2], *space)
    padding = module.padding
    if module.padding_mode != "zeros":
        x = functional.pad(x, module._reversed_padding_repeated_twice, module.padding_mode)
        padding = 0
    convolve = getattr(functional, f"conv{len(space)}d")
    x = convolve(x, kernel, None, module.stride, padding, module.dilation)
    space = x.shape[2:]
    x = x.reshape(rows, groups, x.shape[1], space.numel())
    x = out.reshape(groups, -1, out.shape[1]) @ x
    return x.reshape(rows, out.shape[0], *space)
