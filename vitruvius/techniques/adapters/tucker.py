"""Updates of weights of any order: a small core with one thin factor for each axis.

Source: Si et al. 2024, "FLoRA: Low-rank core space for n-dimension", arXiv:2405.14739, sections 3.2
and 3.3; the start from the weight as Meng, Wang & Zhang 2024, "PiSSA", arXiv:2404.02948, section 3,
have it for matrices.
Differs from the papers: in training the update is never built, its factors are applied one after
the other; the axis of inputs is that of a group, so that grouped and depthwise convolutions have
one; of a start from the weight the difference to it trains, and the weight itself stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.contracts import Part, Site, Sites, Source, Tensors, Wanted, Wants, WeightDelta
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.decomposed import decomposed
from vitruvius.techniques.adapters.low_rank import ATTENTION, LINEARS, QUERIES_AND_VALUES
from vitruvius.techniques.sources import Free

CONVOLUTIONS = Sites(kinds=("convolution",))
STARTS = ("kaiming", "hosvd", "core")
LETTERS = "abcdefgh"  # ranks of the axes; the axes themselves are in capitals


@dataclass(frozen=True)
class Tucker(WeightDelta):
    """Train W + scale G x_1 A_1 x_2 ... x_n A_n in place of W, of axes d_1 ... d_n.

    r_1 ... r_n + sum of d_i r_i numbers for each weight. G = 0 at the start, so that the model is
    unchanged. A linear map is three products; a convolution one of 1 x 1, one of the small kernel
    with the stride, padding and dilation of the base, and one of 1 x 1. A rank larger than its axis
    is refused, but for what cannot have it: kernels of size 1, and inputs of groups, which have
    their whole axis.

    The factors start drawn ("kaiming"), or as the leading singular vectors of each unfolding of W
    ("hosvd"), scaled to the length of drawn ones: G then works from the first step in the
    directions that W has. With "core" G starts too, at what W is in these factors, and what the
    product was is taken off it: the factors train at once, and the update is built in training.
    What trains, and shrinks by weight decay, is the difference to such a start, which is kept
    beside it and in files.
    """

    rank: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "rank of outputs and of inputs")
    kernel_rank: int = hyper(2, one_of(1, 2, 3), "rank of each axis of a kernel")
    scale: float = hyper(1.0, log_uniform(0.04, 4.0), "strength of the update")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of what the first factor reads")
    sites: Sites = hyper(
        QUERIES_AND_VALUES, one_of(QUERIES_AND_VALUES, ATTENTION, LINEARS), "whose weights"
    )
    source: Source = hyper(Free(), None, "who makes the core and the factors")
    start: str = hyper(
        "kaiming",
        one_of("kaiming", "hosvd"),
        "factors drawn, or as those of W by HOSVD; 'core': with its core too",
    )

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
        if self.start not in STARTS:
            raise ValueError(
                f"Tucker.start must be one of {', '.join(STARTS)}; got {self.start!r}."
            )
        if self.start == "core" and self.dropout:
            raise ValueError(
                "Tucker.dropout must be 0 with start 'core', whose update is built whole; got "
                f"{self.dropout}. Take 'hosvd'."
            )

    @property
    def identity(self) -> bool:
        return self.source.identity

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        if len(site.sizes.get("weight", ())) < 2:
            return {}
        axes = site.sizes["weight"]
        ranks = self.ranks(site)
        how = "kaiming" if self.start == "kaiming" else "zero"
        return {
            "core": Wanted(torch.Size(ranks)),
            **{
                f"factor_{axis}": Wanted(torch.Size((size, rank)), how)
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

    def fixed(self, weight: Tensor, rng: torch.Generator) -> Tensors:
        """Where core and factors start, beside which they train. ``ranks`` has looked at sizes."""
        if self.start == "kaiming":
            return {}
        _, into, *kernel = weight.shape
        ranks = [self.rank, min(self.rank, into)]
        ranks += [1 if size == 1 else self.kernel_rank for size in kernel]
        core, factors = decomposed(weight, ranks)
        lengths = [(d / (3 * r)) ** 0.5 for d, r in zip(weight.shape, ranks, strict=True)]
        found = {
            f"start_factor_{axis}": length * factor
            for axis, (length, factor) in enumerate(zip(lengths, factors, strict=True))
        }
        if self.start == "core":
            found["start_core"] = core / (self.scale * prod(lengths))
        return found

    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        names = ["core", *(f"factor_{axis}" for axis in range(weight.ndim))]
        now, first = now_and_first(t)
        if "core" not in first:
            return self.scale * product(now["core"], [now[name] for name in names[1:]])
        # P(now) - P(first), one tensor after the other: to the bit 0 where all differences are
        made = torch.zeros_like(weight)
        for place, name in enumerate(names):
            core, *factors = (
                *(now[one] for one in names[:place]),
                t[name],
                *(first[one] for one in names[place + 1 :]),
            )
            made = made + product(core, factors)
        return self.scale * made

    def forward(self, t: Tensors, x: Tensor, module: nn.Module) -> Tensor | None:
        plain = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        now, first = now_and_first(t)
        if "core" in first or not (plain or isinstance(module, nn.Linear)):
            return None
        if self.dropout:
            x = functional.dropout(x, self.dropout, module.training)
        if plain:
            return self.scale * convolved(now, x, module)
        return (x @ now["factor_1"]) @ (self.scale * now["core"]).mT @ now["factor_0"].mT

    def cut(self, t: Tensors, shape: torch.Size, axis: int, kept: Tensor) -> Tensors:
        names = (f"factor_{axis}", f"start_factor_{axis}")
        return {**t, **{name: t[name][kept] for name in names if name in t}}


def now_and_first(t: Tensors) -> tuple[Tensors, Tensors]:
    """Core and factors as they are now, and those that a start from the weight has given."""
    first = {n.removeprefix("start_"): one for n, one in t.items() if n.startswith("start_")}
    trained = {n: one for n, one in t.items() if not n.startswith("start_")}
    return {n: one + first[n] if n in first else one for n, one in trained.items()}, first


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
