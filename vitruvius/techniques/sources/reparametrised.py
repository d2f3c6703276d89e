"""Rows of tensors as the outputs of one small network.

Source: Li & Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation",
arXiv:2101.00190, section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Site, Source, Tensors, Wanted, Wants
from vitruvius.contracts.adapters import Start
from vitruvius.space import hyper, one_of
from vitruvius.techniques.sources.free import start


@dataclass(frozen=True)
class Reparametrised(Source):
    """All tensors [l, d] of a part together: up tanh(down e + b) + c, with e [l, width] trained.

    l width + (width + 1) hidden + (hidden + 1) n numbers, with n the sum of d over tensors and
    sites. For keys, values and tokens alone: their rows are as many at each site, and none has to
    start at zero. e starts normal of deviation 1, the maps as torch draws linear ones.
    """

    width: int = hyper(64, one_of(32, 64, 128, 512), "width of what is learned for each row")
    hidden: int = hyper(128, one_of(64, 128, 256, 512, 800), "width of the network")

    def check(self) -> None:
        for field in ("width", "hidden"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"Reparametrised.{field} must be at least 1; got {getattr(self, field)}."
                )

    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        return _Network(wants, rows_of(wants), self.width, self.hidden, given.rng)

    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        total = sum(one.size[1] for names in wants.values() for one in names.values())
        rows = rows_of(wants)
        return rows * self.width + (self.width + 1) * self.hidden + (self.hidden + 1) * total


def rows_of(wants: Mapping[str, Wants]) -> int:
    """The number of rows that all tensors have."""
    found = {(len(w.size), w.size[0], w.start) for names in wants.values() for w in names.values()}
    if len({rows for _, rows, _ in found}) > 1 or any(
        axes != 2 or how != "normal" for axes, _, how in found
    ):
        raise ValueError(
            "Reparametrised makes tensors of equally many rows that start at random, as keys, "
            f"values and tokens do; wanted are {sorted(map(str, found))[0]} and others. Take Free."
        )
    return next(rows for _, rows, _ in found)


class _Network(nn.Module):
    """What is learned of each row, and the network from there to all tensors."""

    def __init__(
        self,
        wants: Mapping[str, Wants],
        rows: int,
        width: int,
        hidden: int,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.sizes = [(p, n, w.size[1]) for p, names in wants.items() for n, w in names.items()]
        total = sum(size for _, _, size in self.sizes)
        self.rows = _parameter((rows, width), "normal", rng)
        self.down = _parameter((hidden, width), "kaiming", rng)
        self.down_bias = _parameter((hidden,), "zero", rng)
        self.up = _parameter((total, hidden), "kaiming", rng)
        self.up_bias = _parameter((total,), "zero", rng)

    def forward(self, route: Tensor | None = None) -> dict[str, Tensors]:
        linear = nn.functional.linear
        inner = linear(self.rows, self.down, self.down_bias).tanh()
        pieces = linear(inner, self.up, self.up_bias).split([s for _, _, s in self.sizes], -1)
        found: dict[str, dict[str, Tensor]] = {}
        for (path, name, _), piece in zip(self.sizes, pieces, strict=True):
            found.setdefault(path, {})[name] = piece
        return dict(found)


def _parameter(size: tuple[int, ...], how: Start, rng: torch.Generator) -> nn.Parameter:
    return nn.Parameter(start(Wanted(torch.Size(size), how, 1.0), rng))
