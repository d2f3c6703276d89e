"""What points would cost: the numbers that an ask compares, and how its event holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vitruvius.space import Point, canonical


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
