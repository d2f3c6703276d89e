"""Which rows of an attention's maps are of which of its heads, and the maps without some of them.

Source: Michel, Levy & Neubig 2019, "Are sixteen heads really better than one?", arXiv:1905.10650,
section 2; heads that share keys and values from Ainslie et al. 2023, "GQA", arXiv:2305.13245,
section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Heads:
    """What of one attention stays or goes as one.

    A head, with its keys and values where it has them for itself. Where several heads share keys
    and values they go together with these; where all do, one at a time, and keys and values stay.
    """

    count: int
    """Of what can go: heads, or groups of them."""
    each: int
    """Heads in one."""
    key_heads: int
    """Keys and values in one; 0 where all heads share them."""
    places: Mapping[str, Int[Tensor, "count n"]]
    """By path of a linear map its rows, of the map back its columns."""
    counted: Mapping[str, Int[Tensor, "count m"]]
    """Rows of the queries' and values' maps, by which it counts."""
    out: str
    """Path of the map back."""


def heads_of(paths: tuple[str, str, str, str], heads: int, key_heads: int, width: int) -> Heads:
    """Of an attention with maps to queries, keys, values and back at these paths in its body.

    One path thrice is one map, whose rows are of all queries, then all keys, then all values.
    ``width`` is that of a head; ``key_heads`` divide ``heads``.
    """
    query, key, value, out = paths
    one = query == key
    starts = (0, heads * width, (heads + key_heads) * width) if one else (0, 0, 0)
    shared = key_heads == 1 < heads
    count = heads if shared else key_heads

    def rows(several: int, first: int) -> Tensor:
        return (first + torch.arange(several * width)).view(count, -1)

    counted = [(query, rows(heads, starts[0]))]
    places = list(counted)
    if not shared:
        counted.append((value, rows(key_heads, starts[2])))
        places += [(key, rows(key_heads, starts[1])), counted[-1]]
    return Heads(
        count,
        heads // count,
        0 if shared else 1,
        {**_joined(places), out: rows(heads, 0)},
        _joined(counted),
        out,
    )


@runtime_checkable
class Headed(Protocol):
    """A body whose attentions can lose heads."""

    def attentions(self) -> Mapping[str, Heads]:
        """By path. Raises ValueError where heads of one cannot go, with the reason."""
        ...

    def keep_heads(self, stays: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Leave these alone in it; what stays of each tensor, and along which axis, by name.

        It then gives what it gave with zeros in the columns of the maps back that are gone. Raises
        ValueError where it would not.
        """
        ...


@torch.no_grad()
def cut(body: nn.Module, heads: Heads, stays: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Take the rows and columns of all but these from the maps; what stays, and along which axis,
    by name of the parameter."""
    kept: dict[str, Tensor] = {}
    axes: dict[str, int] = {}
    for path, table in heads.places.items():
        linear, axis = body.get_submodule(path), int(path == heads.out)
        assert isinstance(linear, nn.Linear)
        left = torch.ones(linear.weight.shape[axis], dtype=torch.bool)
        left[table] = False  # what all heads share is in no table, and stays
        left[table[stays.cpu()]] = True
        places = left.nonzero().flatten().to(linear.weight.device)
        kept[f"{path}.weight"] = places
        _replace(linear, "weight", linear.weight.index_select(axis, places))
        if axis:
            axes[f"{path}.weight"] = axis
            linear.in_features = len(places)
            continue
        linear.out_features = len(places)
        if linear.bias is not None:
            kept[f"{path}.bias"] = places
            _replace(linear, "bias", linear.bias[places])
    return kept, axes


def _replace(linear: Any, name: str, value: Tensor) -> None:
    wanted = getattr(linear, name).requires_grad
    setattr(linear, name, nn.Parameter(value, requires_grad=wanted))


def _joined(tables: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path, table in tables:
        found[path] = torch.cat((found[path], table), 1) if path in found else table
    return found
