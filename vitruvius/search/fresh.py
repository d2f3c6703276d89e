"""A point that is not among those already taken."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from vitruvius.space import Point, Program, canonical, enumerate_points, neighbours

DRAWS = 64  # random points before all points are gone through


class Exhausted(Exception):
    """No point is left that was not asked before."""


def fresh(program: Program, taken: Collection[str], start: Point, draw: Random) -> Point:
    """A point whose canonical JSON is not taken: near to ``start`` if there is one, else random,
    else the first of all. Raises Exhausted where there is none.
    """
    near = [p for p in neighbours(program.space, start, draw) if canonical(p) not in taken]
    if near:
        return draw.choice(near)
    for _ in range(DRAWS):
        point = program.sample(draw)
        if canonical(point) not in taken:
            return point
    if all(decision.domain.size is not None for decision in program.unfold()):
        for point in enumerate_points(program.space):  # one more than are taken, at most
            if canonical(point) not in taken:
                return point
        raise Exhausted(f"All {len(taken)} points of the space have been asked.")
    for _ in range(1000):
        point = program.sample(draw)
        if canonical(point) not in taken:
            return point
    raise Exhausted(f"1,000 random points in a row were among the {len(taken)} asked before.")
