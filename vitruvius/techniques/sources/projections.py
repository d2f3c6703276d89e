"""Fixed random maps from a few numbers to many, which keep lengths on average.

Source: Le, Sarlos & Smola 2013, "Fastfood: approximating kernel expansions in loglinear time",
arXiv:1408.3060, section 4.1; as a map of parameters Li et al. 2018, "Measuring the intrinsic
dimension of objective landscapes", arXiv:1804.08838, section 2. Sparse: Li, Hastie & Church 2006,
"Very sparse random projections", section 2.
Differs from the papers: Fastfood is divided so that the part of the output that is kept has the
expected length of the input; a sparse map has equally many entries in each row, some of them twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.techniques.sources.walsh_hadamard import walsh_hadamard

KINDS = ("fastfood", "dense", "sparse")
LARGEST = 2**27  # entries of a dense map: 512 MiB


def projection(kind: str, dimension: int, sizes: Sequence[int], rng: torch.Generator) -> Projection:
    """Maps from ``dimension`` numbers, one to each number of entries in ``sizes``."""
    if kind == "fastfood":
        return Fastfood(dimension, sizes, rng)
    return (Dense if kind == "dense" else Sparse)(dimension, sizes, rng)


class Projection(nn.Module, ABC):
    """P_i theta for each i, each P_i drawn on its own: E |P_i theta|^2 = |theta|^2.

    What was drawn is kept in buffers that no file holds: the seed gives them again.
    """

    @abstractmethod
    def forward(self, theta: Float[Tensor, " d"]) -> list[Tensor]: ...

    def _keep(self, name: str, drawn: Tensor) -> None:
        self.register_buffer(name, drawn, persistent=False)


class Fastfood(Projection):
    """sqrt(1 / (n sum G^2)) H G Pi H B theta, cut to n entries; N = 2^k >= n in between.

    H is Walsh-Hadamard's matrix, B signs, Pi a permutation and G normal; theta is padded with
    zeros, or cut where it is longer than N. O(N log N) time, 8 N bytes. Outputs of one N are
    computed at once. With theta in the first M = 2^j >= d entries, H B theta repeats itself after
    M, so that the first transform is of M.
    """

    def __init__(self, dimension: int, sizes: Sequence[int], rng: torch.Generator) -> None:
        super().__init__()
        self.sizes, self.dimension = tuple(sizes), dimension
        self.groups: dict[int, list[int]] = {}
        for place, size in enumerate(sizes):
            self.groups.setdefault(power_of_two(size), []).append(place)
        for length, places in self.groups.items():
            m = min(length, power_of_two(dimension))
            signs, order, gains = [], [], []
            for place in places:
                signs.append(torch.randint(2, (m,), generator=rng, dtype=torch.int8) * 2 - 1)
                order.append(torch.randperm(length, generator=rng) % m)
                g = torch.randn(length, generator=rng)
                # |H x|^2 = N |x|^2 twice, and of N entries n are kept: sqrt(N sum G^2 n / N).
                gains.append(g / (g.double().square().sum() * sizes[place]).sqrt())
            offsets = m * torch.arange(len(places))[:, None]
            self._keep(f"signs{length}", torch.stack(signs))
            self._keep(f"order{length}", (torch.stack(order) + offsets).flatten().int())
            self._keep(f"gains{length}", torch.stack(gains).float())

    def forward(self, theta: Float[Tensor, " d"]) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for length, places in self.groups.items():
            signs = self.get_buffer(f"signs{length}")
            m = signs.shape[1]
            padded = nn.functional.pad(theta[:m], (0, max(0, m - self.dimension)))
            first = walsh_hadamard(signs * padded).flatten()
            mixed = first.index_select(0, self.get_buffer(f"order{length}"))
            rays = walsh_hadamard(self.get_buffer(f"gains{length}") * mixed.view(-1, length))
            found |= {p: ray[: self.sizes[p]] for p, ray in zip(places, rays, strict=True)}
        return [found[place] for place in range(len(self.sizes))]


class Dense(Projection):
    """P theta with each entry of P normal of variance 1 / n. n d numbers: for small sizes."""

    def __init__(self, dimension: int, sizes: Sequence[int], rng: torch.Generator) -> None:
        super().__init__()
        if (entries := dimension * sum(sizes)) > LARGEST:
            raise ValueError(
                f"A dense projection must be at most of {LARGEST} entries; {dimension} numbers to "
                f'{sum(sizes)} are {entries}. Take "fastfood".'
            )
        self.sizes = tuple(sizes)
        drawn = [torch.randn(n, dimension, generator=rng) / sqrt(n) for n in sizes]
        self._keep("matrix", torch.cat(drawn))

    def forward(self, theta: Float[Tensor, " d"]) -> list[Tensor]:
        return list((self.get_buffer("matrix") @ theta).split(self.sizes))


class Sparse(Projection):
    """P theta with k = d / sqrt(n) entries in each row of P, at least one: +-sqrt(d / (k n))."""

    def __init__(self, dimension: int, sizes: Sequence[int], rng: torch.Generator) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        for place, n in enumerate(sizes):
            k = max(1, round(dimension / sqrt(n)))
            columns = torch.randint(dimension, (n, k), generator=rng, dtype=torch.int32)
            signs = torch.randint(2, (n, k), generator=rng, dtype=torch.int8) * 2 - 1
            self._keep(f"columns{place}", columns)
            self._keep(f"signs{place}", signs)

    def forward(self, theta: Float[Tensor, " d"]) -> list[Tensor]:
        found = []
        for place in range(len(self.sizes)):
            columns, signs = (self.get_buffer(f"{name}{place}") for name in ("columns", "signs"))
            read = theta.index_select(0, columns.flatten()).view(columns.shape)
            found.append((signs * read).sum(1) * sqrt(len(theta) / prod(columns.shape)))
        return found


def power_of_two(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << (n - 1).bit_length()
