"""Weights of a layer that make it compute what another layer does, though it is wider.

Source: Chen, Goodfellow & Shlens 2016, "Net2Net: Accelerating learning via knowledge transfer",
arXiv:1511.05641, section 2.2; larger kernels from Wei et al. 2016,
"Network morphism", arXiv:1603.01670, section 3.3.
Differs from the papers: the copies of a channel go in turn over all channels, so that two sums of
one width agree; what reads them divides its weights unevenly, output by output, in place of equal
parts and noise, so that copies part ways in training and the function is kept exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.train.aligning import Part, differing

SPREAD = 0.5  # how far the parts of a divided weight are from equal, at most, over that part
LINEAR = (nn.Linear, nn.Conv2d, nn.Conv1d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, eq=False)
class Link:
    """How the channels of a child follow from those of its parent: each is one of them."""

    of: Tensor
    """The parent's channel that each of the child's equals, int64 [channels]."""
    parent: int
    """Channels of the parent."""
    positive: bool = False
    """No number in them is below zero."""

    @property
    def plain(self) -> bool:
        """All of the parent's, each once, in their order."""
        return len(self.of) == self.parent and bool((self.of == torch.arange(self.parent)).all())

    @property
    def even(self) -> bool:
        """Each as often as any other, so that means over all of them agree."""
        counts = torch.bincount(self.of, minlength=self.parent)
        return bool((counts == counts[0]).all())

    def spread(self, places: int) -> Link:
        """Of what has so many numbers in each channel, one after the other."""
        of = (self.of[:, None] * places + torch.arange(places)).flatten()
        return Link(of, self.parent * places, self.positive)

    def repeated(self, steps: int) -> Link:
        """Of so many steps, the channels of each together."""
        of = (torch.arange(steps)[:, None] * self.parent + self.of).flatten()
        return Link(of, self.parent * steps, self.positive)


def plain(count: int, positive: bool = False) -> Link:
    """Every channel is the parent's own."""
    return Link(torch.arange(count), count, positive)


def widened(old: int, new: int) -> Link:
    """``new`` channels that take those of ``old`` in turn."""
    return Link(torch.arange(new) % old, old)


@dataclass(frozen=True, eq=False)
class Copied:
    """A tensor made of one of the parent's: rows and columns taken, columns divided among those
    that read the same, a kernel with so many zeros on each side."""

    source: str
    rows: Tensor | None = None
    columns: Tensor | None = None
    divided: bool = True
    margin: int = 0

    def make(self, weights: Mapping[str, Tensor], rng: torch.Generator) -> Tensor:
        found = weights[self.source].detach().cpu()
        if self.rows is not None:
            found = found.index_select(0, self.rows)
        if self.columns is not None:
            width = found.shape[1]
            found = found.index_select(1, self.columns)
            if self.divided and len(self.columns) != width:
                parts = self._parts(found.shape[0], width, found.dtype, rng)
                found = found * parts.reshape(*parts.shape, *[1] * (found.dim() - 2))
        if self.margin:
            found = nn.functional.pad(found, (self.margin,) * 2 * (found.dim() - 2))
        return found

    def _parts(self, rows: int, width: int, dtype: torch.dtype, rng: torch.Generator) -> Tensor:
        """Factors [rows, columns]; those of columns with one source sum to 1 in each row."""
        assert self.columns is not None
        drawn = torch.rand((rows, len(self.columns)), generator=rng, dtype=torch.float64)
        drawn = 1 + SPREAD * (2 * drawn - 1)
        total = torch.zeros(rows, width, dtype=torch.float64).index_add_(1, self.columns, drawn)
        return (drawn / total[:, self.columns]).to(dtype)


@dataclass(frozen=True)
class Fixed:
    """A tensor of zeros, or of what gives back what it gets."""

    how: str
    """ "zeros" or "identity"."""

    def make(self, like: Tensor) -> Tensor:
        found = torch.zeros(like.shape, dtype=like.dtype)
        if self.how == "identity":
            each = torch.arange(len(found))
            middle = [(size - 1) // 2 for size in found.shape[2:]]
            found[(each, each, *middle)] = 1.0
        return found


Way = Copied | Fixed
"""How a tensor of the child is made."""


class Refusal(Exception):
    """Why a layer does not begin with its parent's weights, in one line."""


def inner(part: Part, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """Names, from the layer on, of the modules of some kinds inside it."""
    return [name for name, module in part.module.named_modules() if type(module) in kinds]


def copied(parent: Part, child: Part) -> dict[str, Way] | None:
    """All tensors of a layer as they are; None where they are not of the same shapes."""
    ours, theirs = parent.module.state_dict(), child.module.state_dict()
    if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
        return None
    return {dotted(child.name, name): Copied(dotted(parent.name, name)) for name in theirs}


def matrix(
    parent: Part,
    child: Part,
    names: tuple[str, str],
    link: Link | None,
    out: Link | None,
    margin: int = 0,
) -> dict[str, Way]:
    """A matrix or convolution with its bias: columns by what comes in, rows by what comes out.

    ``names`` are those of the parent's and the child's module inside the layer. A bias that the
    parent has not begins at zero.
    """
    ours, theirs = names
    old, new = parent.module.get_submodule(ours), child.module.get_submodule(theirs)
    ours, theirs = dotted(parent.name, ours), dotted(child.name, theirs)
    if out is None and len(old.weight) != len(new.weight):  # type: ignore[arg-type]
        raise Refusal(f"{child.kind} gives {len(new.weight)} numbers in place of {len(old.weight)}")  # type: ignore[arg-type]
    rows = None if out is None or out.plain else out.of
    columns = None if link is None or link.plain else link.of
    found: dict[str, Way] = {
        f"{theirs}.weight": Copied(f"{ours}.weight", rows, columns, margin=margin)
    }
    if old.bias is not None and new.bias is None:
        raise Refusal(f"{child.kind} has no bias, and its parent has one")
    if new.bias is not None:
        bias = Fixed("zeros") if old.bias is None else Copied(f"{ours}.bias", rows)
        found[f"{theirs}.bias"] = bias
    return found


def same_but(parent: Part, child: Part, *fields: str) -> None:
    """Refuse other fields than these to differ."""
    names = [n for n in differing(parent.layer, child.layer) if n not in fields]
    if names:
        raise Refusal(f"{child.kind} has another {names[0]} than its parent")


def wider(child: Part, old: int, new: int) -> Link:
    """Refuse to become narrower."""
    if new < old:
        raise Refusal(f"{child.kind} is narrower than its parent: {new} in place of {old}")
    return widened(old, new)


def dotted(*names: str) -> str:
    """Names of a module and of what is inside, as one."""
    return ".".join(filter(None, names))
