"""Tensors that all move with one short vector.

Source: Aghajanyan, Gupta & Zettlemoyer 2021, "Intrinsic dimensionality explains the effectiveness
of language model fine-tuning", arXiv:2012.13255, section 3 (DID, SAID); Li et al. 2018, "Measuring
the intrinsic dimension of objective landscapes", arXiv:1804.08838, section 2.
Differs from the papers: SAID's scales are of tensors, not of layers; one map to all tensors at once
(``scope="global"``) is offered too.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Site, Source, Wants
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.sources.free import start
from vitruvius.techniques.sources.projections import KINDS, Projection, power_of_two, projection

STRUCTURES = ("none", "tensor")
SCOPES = ("tensor", "global")


@dataclass(frozen=True)
class Projected(Source):
    """start + P theta, or start + lambda_i P_i theta: theta in R^d trains, P is random and fixed.

    Trains ``dimension`` numbers exactly, the scales lambda counted. theta starts at 0 and lambda at
    1, so that every tensor starts as it is wanted. The same theta moves all tensors. A file holds
    theta, the scales and the seed of P: a few kB. Dropout in the base hurts where d is tiny, and
    the best learning rate grows as d shrinks.
    """

    dimension: int = hyper(500, integers(10, 100_000, log=True), "numbers that train, d")
    projection: str = hyper(
        "fastfood",
        one_of(*KINDS),
        "map of theta: Fastfood in n log n, normal, or a few signs in each row",
    )
    structure: str = hyper(
        "none", one_of(*STRUCTURES), "what has a scale lambda of its own: SAID's tensors"
    )
    scope: str = hyper(
        "tensor",
        one_of(*SCOPES),
        "a map for each tensor, so that all move as far, or one to all of them: faster",
    )

    def check(self) -> None:
        if self.dimension < 1:
            raise ValueError(
                f"Projected.dimension must be at least 1; got {self.dimension}. "
                "To train nothing, take LinearProbe."
            )
        known = {"projection": KINDS, "structure": STRUCTURES, "scope": SCOPES}
        for name, options in known.items():
            if getattr(self, name) not in options:
                raise ValueError(
                    f"Projected.{name} is one of {', '.join(options)}; got {getattr(self, name)!r}."
                )

    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        self.count(wants, sites)
        seed = int(torch.randint(2**62, (1,), generator=given.rng, device=given.rng.device))
        return _Projected(self, wants, seed)

    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        sizes = [wanted.size.numel() for at in wants.values() for wanted in at.values()]
        scales = len(sizes) if self.structure == "tensor" else 0
        if self.dimension <= scales:
            raise ValueError(
                f"The {scales} scales of tensors must be at most Projected.dimension - 1, which is "
                f'{self.dimension - 1}. Raise dimension, or take structure="none".'
            )
        longest = sum(sizes) if self.scope == "global" else max(map(power_of_two, sizes), default=0)
        if self.dimension - scales > longest:
            raise ValueError(
                f"Projected.dimension must be at most {longest + scales}, what the tensors here "
                f"can read; got {self.dimension}. Take fewer, or let them train freely."
            )
        return self.dimension


class _Projected(nn.Module):
    """theta and the scales; what is fixed comes from the seed."""

    def __init__(self, source: Projected, wants: Mapping[str, Wants], seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.wants = {path: dict(at) for path, at in wants.items()}
        flat = [wanted for at in self.wants.values() for wanted in at.values()]
        self.sizes = [wanted.size.numel() for wanted in flat]
        scales = len(flat) if source.structure == "tensor" else 0
        self.theta = nn.Parameter(torch.zeros(source.dimension - scales))
        self.scales = nn.Parameter(torch.ones(scales)) if scales else None
        self.apart = source.scope == "tensor"
        sizes = self.sizes if self.apart else [sum(self.sizes)]
        self.map: Projection = projection(source.projection, len(self.theta), sizes, rng)
        for place, wanted in enumerate(flat):
            if wanted.start != "zero":
                self.register_buffer(f"start{place}", start(wanted, rng), persistent=False)
        self.register_buffer("drawn", torch.tensor([seed, _sum_of(self)]))

    def forward(self, route: Tensor | None) -> dict[str, dict[str, Tensor]]:
        rays = self.map(self.theta)
        if not self.apart:
            rays = list(rays[0].split(self.sizes))
        if self.scales is not None:
            rays = [scale * ray for scale, ray in zip(self.scales, rays, strict=True)]
        found: dict[str, dict[str, Tensor]] = {}
        place = 0
        for path, at in self.wants.items():
            found[path] = {}
            for name, wanted in at.items():
                moved = rays[place].view(wanted.size)
                first = getattr(self, f"start{place}", None)
                found[path][name] = moved if first is None else first + moved
                place += 1
        return found


def _sum_of(module: nn.Module) -> int:
    """Of all that was drawn: another release of PyTorch that draws otherwise gives another."""
    found = 0
    for buffer in module.buffers():
        found = zlib.crc32(buffer.contiguous().numpy().tobytes(), found)
    return found
