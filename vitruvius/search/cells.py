"""Domains cut into cells, and ranges of cells halved: what a tree search branches on.

A domain with labels has a cell for each, in their order; a real domain has ``2 ** depth`` cells of
equal width on its quantile axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Any

from vitruvius.space import Domain
from vitruvius.space.domains import Choice, Integers


def cells(domain: Domain, depth: int) -> int:
    """The number of cells of a domain."""
    return domain.size or 2**depth


def cell_of(domain: Domain, label: Any, size: int) -> int:
    """The cell that a label lies in."""
    if isinstance(domain, Choice):
        return domain.index(label)
    if isinstance(domain, Integers):
        return label - domain.low
    return min(int(domain.position(label) * size), size - 1)


def parts(
    domain: Domain, low: int, high: int, halved: bool, only: int | None = None
) -> Iterator[tuple[int, int]]:
    """The branches of a range of cells: its two halves, or each cell (or only the one named)."""
    if halved:
        middle = _middle(domain, low, high)
        yield low, middle
        yield middle, high
    elif only is not None:
        yield only, only + 1
    else:
        for cell in range(low, high):
            yield cell, cell + 1


def draw_within(domain: Domain, low: int, high: int, size: int, draw: Random) -> Any:
    """A random label of a range of cells, spread as the domain spreads its labels."""
    if high - low == size:
        return domain.sample(draw)
    if isinstance(domain, Choice):
        return domain.labels[low if high - low == 1 else draw.randrange(low, high)]
    if isinstance(domain, Integers):
        first, last = domain.low + low, domain.low + high - 1
        if first == last or not domain.log:
            return draw.randint(first, last)
        edges = math.log(first - 0.5), math.log(last + 0.5)
        return min(max(round(math.exp(draw.uniform(*edges))), first), last)
    return domain.at(draw.uniform(low / size, high / size))


def _middle(domain: Domain, low: int, high: int) -> int:
    """Where a range is halved: by number of cells, or by ratio where the domain is logarithmic."""
    if isinstance(domain, Integers) and domain.log:
        first, after = domain.low + low - 0.5, domain.low + high - 0.5
        cut = math.ceil(math.sqrt(first * after)) - domain.low
        return min(max(cut, low + 1), high - 1)
    return (low + high) // 2
