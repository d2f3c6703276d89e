"""Networks that write tensors: from a code, a template; from a template, each site's tensor.

Source: Liu et al. 2022, "Polyhistor: parameter-efficient multi-task adaptation for dense vision
tasks", arXiv:2210.03265, sections 4.1 (decomposed hypernetworks) and 4.2 (layer-wise scaling
kernels); Karimi Mahabadi et al. 2021, "Parameter-efficient multi-task fine-tuning for transformers
via shared hypernetworks", arXiv:2106.04489, section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import Wanted
from vitruvius.techniques.sources.free import start
from vitruvius.techniques.sources.kronecker import kronecker

NOISE = 0.02  # of kernels at the start, about the identity


class Generator(nn.Module):
    """A tensor of a size from a code of k numbers, linear in them: H v.

    "none": H of size x k. "generator": H = U V with V [r k]. "output": rows [n r] and columns [r d]
    are generated, and the tensor is their product; one axis alone has no such factors. For codes
    of length 1 the entries start with the deviation that is asked for; with 0 the last factor that
    is trained is 0 and no other.
    """

    def __init__(self, size: Sequence[int], k: int, decompose: str, rank: int) -> None:
        super().__init__()
        self.size = tuple(size)
        rows, columns = (self.size[0], prod(self.size[1:])) if self.size else (1, 1)
        matrix = len(self.size) > 1
        self.rank = min(rank, rows, columns) if decompose == "output" else min(rank, k)
        self.inner: nn.Parameter | None = None
        if decompose == "output" and matrix:
            self.last = nn.Parameter(torch.empty(rows * self.rank, k))
            self.inner = nn.Parameter(torch.empty(self.rank * columns, k))
        elif decompose == "generator":
            self.last = nn.Parameter(torch.empty(rows * columns, self.rank))
            self.inner = nn.Parameter(torch.empty(self.rank, k))
        else:
            self.last = nn.Parameter(torch.empty(rows * columns, k))
        self.product = decompose == "output" and matrix

    @torch.no_grad()
    def reset(self, spread: float, rng: torch.Generator) -> None:
        """Draw it so that entries have the deviation ``spread``, or are 0."""
        self.last.copy_(torch.randn(self.last.shape, generator=rng, device=rng.device) * spread)
        if self.inner is not None:
            self.inner.copy_(
                torch.randn(self.inner.shape, generator=rng, device=rng.device) / sqrt(self.rank)
            )

    def forward(self, codes: Float[Tensor, "*lead k"]) -> Tensor:
        lead = codes.shape[:-1]
        if self.inner is None:
            return (codes @ self.last.mT).view((*lead, *self.size))
        if not self.product:
            return (codes @ self.inner.mT @ self.last.mT).view((*lead, *self.size))
        left = (codes @ self.last.mT).unflatten(-1, (-1, self.rank))
        right = (codes @ self.inner.mT).unflatten(-1, (self.rank, -1))
        return (left @ right).view((*lead, *self.size))


@dataclass(frozen=True)
class Family:
    """Tensors of one generator: where they are and how each is to start."""

    size: tuple[int, ...]
    """Of the template."""
    members: tuple[tuple[str, str, Wanted], ...]
    """Path, name, and what is wanted there."""
    kernels: tuple[int, ...] | None
    """Which kernel each has; None: an embedding of its path tells it apart."""


class Generators(nn.Module):
    """All tensors of a part from an embedding of each task.

    Of ``tasks`` codes v_t each family makes a template W_t; a member is K (x) W_t with its kernel K
    of (size over size of the template), or is written for v_t + u with an embedding u of its path.
    Where a tensor starts at one or at the identity, that is added and does not train. Templates are
    made once for each task or each row of a batch, whichever are fewer.
    """

    parameter_kinds: ClassVar[Mapping[str, str]] = {"tasks": "prompt", "places": "prompt"}

    def __init__(
        self,
        families: Sequence[Family],
        tasks: int,
        k: int,
        decompose: str,
        rank: int,
    ) -> None:
        super().__init__()
        self.families = tuple(families)
        self.tasks = nn.Parameter(torch.empty(tasks, k))
        told = [p for f in families if f.kernels is None for p, _, _ in f.members]
        self.rows = {path: row for row, path in enumerate(dict.fromkeys(told))}
        self.places = nn.Parameter(torch.empty(len(self.rows), k)) if self.rows else None
        self.generators = nn.ModuleList(Generator(f.size, k, decompose, rank) for f in families)
        self.kernels = nn.ModuleList(map(_Kernels, families))
        for number, (_, _, wanted) in enumerate(m for f in families for m in f.members):
            if wanted.start in ("one", "identity"):
                first = start(wanted, torch.Generator()).to(self.tasks.device)
                self.register_buffer(f"start{number}", first, persistent=False)

    @torch.no_grad()
    def reset(self, rng: torch.Generator) -> None:
        shared = 1 if self.places is None else 2  # so that v + u has length 1
        for codes in (self.tasks, self.places):
            if codes is not None:
                drawn = torch.randn(codes.shape, generator=rng, device=rng.device)
                codes.copy_(drawn / sqrt(codes.shape[1] * shared))
        for family, generator, kernels in zip(
            self.families, self.generators, self.kernels, strict=True
        ):
            assert isinstance(generator, Generator) and isinstance(kernels, _Kernels)
            generator.reset(deviation(family.members[0][2]), rng)
            kernels.reset(rng)

    def forward(self, route: Tensor | None) -> dict[str, dict[str, Tensor]]:
        tasks = len(self.tasks)
        if tasks == 1:
            return self._made(self.tasks[0])
        if route is None:
            raise ValueError(
                f"Tensors of {tasks} tasks need Layout.route, the task of each row; got none. "
                "Give a route, or Generated(tasks=1)."
            )
        if len(route) < tasks:
            return self._made(self.tasks[route])
        return _gathered(self._made(self.tasks), route)

    def of(self, task: int) -> dict[str, dict[str, Tensor]]:
        """The tensors of one task, by path and name: an adapter of its own."""
        return self._made(self.tasks[task])

    @torch.no_grad()
    def bake(self) -> Baked:
        """The same tensors as plain numbers: what generated them can go."""
        return Baked(self._made(self.tasks) if len(self.tasks) > 1 else self.of(0), len(self.tasks))

    def _made(self, codes: Tensor) -> dict[str, dict[str, Tensor]]:
        found: dict[str, dict[str, Tensor]] = {}
        number = 0
        for family, generator, kernels in zip(
            self.families, self.generators, self.kernels, strict=True
        ):
            template = None if family.kernels is None else generator(codes)
            for place, (path, name, wanted) in enumerate(family.members):
                if template is not None:
                    tensor = kernels(place, template)
                else:
                    assert self.places is not None
                    tensor = generator(codes + self.places[self.rows[path]])
                tensor = tensor.view((*codes.shape[:-1], *wanted.size))
                first = getattr(self, f"start{number}", None)
                found.setdefault(path, {})[name] = tensor if first is None else first + tensor
                number += 1
        return found


class _Kernels(nn.Module):
    """The kernels of a family, K (x) W of each member."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.owners = family.kernels or ()
        self.weights = nn.ParameterList()
        self.parameter_kinds = {}  # near the identity: they do not decay
        for number in sorted(set(self.owners)):
            wanted = family.members[self.owners.index(number)][2]
            ratio = [a // b for a, b in zip(wanted.size, family.size, strict=True)]
            self.weights.append(nn.Parameter(torch.empty(ratio)))

    @torch.no_grad()
    def reset(self, rng: torch.Generator) -> None:
        for kernel in self.weights:
            noise = NOISE * torch.randn(kernel.shape, generator=rng, device=rng.device)
            kernel.copy_(near_identity(kernel.shape).to(noise) + noise)

    def forward(self, place: int, template: Tensor) -> Tensor:
        return kronecker(self.weights[self.owners[place]], template)


class Baked(nn.Module):
    """Tensors of each task, which do not train; of one task without a first axis."""

    def __init__(self, made: Mapping[str, Mapping[str, Tensor]], tasks: int) -> None:
        super().__init__()
        self.tasks, self.names = tasks, {path: tuple(at) for path, at in made.items()}
        for number, tensor in enumerate(t for at in made.values() for t in at.values()):
            self.register_buffer(f"tensor{number}", tensor.detach().clone())

    def forward(self, route: Tensor | None) -> dict[str, dict[str, Tensor]]:
        numbers = iter(range(sum(map(len, self.names.values()))))
        found = {
            path: {name: self.get_buffer(f"tensor{next(numbers)}") for name in names}
            for path, names in self.names.items()
        }
        if self.tasks == 1:
            return found
        if route is None:
            raise ValueError(
                f"Tensors of {self.tasks} tasks need Layout.route, the task of each row; got none. "
                "Give a route, or bake those of one task."
            )
        return _gathered(found, route)


def near_identity(size: Sequence[int]) -> Tensor:
    """The identity, of matrices that are not square repeated, so that K W keeps the size of W x."""
    if len(size) < 2:
        return torch.ones(tuple(size))
    rows, columns, *rest = size
    both = min(rows, columns)
    eye = torch.arange(rows)[:, None] % both == torch.arange(columns) % both
    whole = eye.float() / sqrt(columns / both * prod(rest))
    return whole.view(rows, columns, *(1,) * len(rest)).expand(tuple(size)).clone()


def deviation(wanted: Wanted) -> float:
    """Of entries that are drawn as ``Free`` draws them; 0 of those that are not drawn."""
    if wanted.start == "normal":
        return wanted.scale
    return 1 / sqrt(3 * max(wanted.size[-1], 1)) if wanted.start == "kaiming" else 0.0


def _gathered(
    made: Mapping[str, Mapping[str, Tensor]], route: Tensor
) -> dict[str, dict[str, Tensor]]:
    return {p: {n: t.index_select(0, route) for n, t in at.items()} for p, at in made.items()}
