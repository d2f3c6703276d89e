"""What points would cost: the numbers that an ask compares, and how its event holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np

from vitruvius.space import Point, Program, canonical

FREE = 1e-3  # of the dearest candidate's cost: what a candidate costs at least


class Costs(Protocol):
    """What is left to compute for each of several points, given what is stored.

    The numbers of one call are of one unit, and may be compared with each other alone. Infinite
    where a point names no design, NaN where nothing is known.
    """

    def __call__(self, points: Sequence[Point]) -> Sequence[float]: ...


@dataclass(frozen=True)
class Price:
    """What is left to compute for one point; infinite FLOPs where it names no design."""

    flops: float | None = None
    """None: not known."""
    seconds: float | None = None
    """None: not known."""


def in_one_unit(prices: Sequence[Price]) -> list[float]:
    """Seconds, where they are known of all that name a design; else FLOPs, NaN where unknown."""
    designs = [p for p in prices if p.flops != math.inf]
    timed = all(p.seconds is not None for p in designs)
    found = []
    for price in prices:
        value = price.seconds if timed and price.flops != math.inf else price.flops
        found.append(math.nan if value is None else value)
    return found


def priced(costs: Sequence[float], exponent: float) -> np.ndarray:
    """What to divide by. An unknown cost counts as the median of those known, and what is free as
    a thousandth of the dearest, so that no improvement is infinite."""
    found = np.array(costs, dtype=float)
    known = found[np.isfinite(found)]
    if not len(known) or not known.max() > 0:
        return np.where(found == math.inf, math.inf, 1.0)
    found = np.where(np.isnan(found), np.median(known), found)
    return np.maximum(found, FREE * known.max()) ** exponent


def cheapest(program: Program, draw: Random, costs: Costs | None, count: int) -> Point:
    """Of a few random points; the first of them where costs do not matter."""
    first = program.sample(draw)
    if costs is None or count == 1:
        return first
    points = [first, *(program.sample(draw) for _ in range(count - 1))]
    return points[int(np.argmin(priced(costs(points), 1.0)))]


def written(point: Point, price: Price) -> dict[str, Any]:
    """A price as the event "asked" holds it."""
    if price.flops == math.inf:
        return {"point": point, "infeasible": True}
    return {"point": point, "flops": price.flops, "seconds": price.seconds}


class Recorded:
    """The costs that an ask was told, from its event: so that it can be asked again."""

    def __init__(self, costs: Sequence[Mapping[str, Any]]) -> None:
        self.prices = {
            canonical(row["point"]): Price(math.inf)
            if row.get("infeasible")
            else Price(row["flops"], row["seconds"])
            for row in costs
        }

    def __call__(self, points: Sequence[Point]) -> list[float]:
        return in_one_unit([self.prices[canonical(point)] for point in points])
