"""Moves of whole blocks among the copies of a ``Repeat``.

Source: insertion, removal and identity as moves of architectures: Real et al. 2017, "Large-Scale
Evolution of Image Classifiers", arXiv:1703.01041, section 3.2; a segment that is copied or taken
out with all that it holds: gene duplication and deletion of Koza 1994, "Architecture-altering
operations for evolving the architecture of a multi-part program in genetic programming".
Differs from the sources: a block is a copy of a ``Repeat``, with all decisions inside; the blocks
behind it move along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vitruvius.space import Domain
from vitruvius.space.columns import Columns, cell, center

KINDS = ("written over", "exchanged", "doubled", "taken out")
NUMBER = re.compile(r"\.(\d+)(?=\.|$)")


@dataclass(frozen=True)
class BlockMove:
    """Block ``first`` of the repeat at ``place``: written over with ``second``, exchanged with it,
    doubled, or taken out."""

    place: str
    kind: str
    first: int
    second: int = 0

    @property
    def growth(self) -> int:
        """How many copies there are more."""
        return {"doubled": 1, "taken out": -1}.get(self.kind, 0)

    def source(self, address: str) -> str:
        """The address of the decision that a decision takes its label from."""
        start = f"{self.place}."
        if not address.startswith(start):
            return address
        number, dot, rest = address[len(start) :].partition(".")
        if not number.isdigit():
            return address
        return f"{start}{self._from(int(number))}{dot}{rest}"

    def _from(self, number: int) -> int:
        first, second = self.first, self.second
        if self.kind == "written over":
            return second if number == first else number
        if self.kind == "exchanged":
            return {first: second, second: first}.get(number, number)
        if self.kind == "doubled":
            return number - 1 if number > first else number
        return number + 1 if number >= first else number


def repeats(addresses: Iterable[str]) -> dict[str, int]:
    """Where copies stand in these decisions: the address of each repeat of two and more, and how
    many copies of it decide anything."""
    found: dict[str, set[int]] = {}
    for address in addresses:
        for match in NUMBER.finditer(address):
            found.setdefault(address[: match.start()], set()).add(int(match.group(1)))
    return {
        place: len(numbers)
        for place, numbers in sorted(found.items())
        if len(numbers) > 1 and numbers == set(range(1, len(numbers) + 1))
    }


class Blocks:
    """Moves of blocks in rows of quantiles, NaN where a decision is not taken."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.places = [
            (place, [_of_copy(columns, place, number) for number in range(1, count + 1)])
            for place, count in repeats(columns.index).items()
        ]
        self.sources: dict[BlockMove, np.ndarray] = {}

    def moved(self, row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """After one move of the copies of one repeat; as it was where it has no copies here."""
        place, copies = self.places[rng.integers(len(self.places))]
        count = sum(not np.isnan(row[columns]).all() for columns in copies)
        times = self.columns.index.get(f"{place}.times")
        sizes = self.columns.domains[times] if times is not None else None
        move = drawn_move(place, count, sizes, rng)
        if move is None:
            return row
        if move not in self.sources:
            wanted = [self.columns.index.get(move.source(a), -1) for a in self.columns.index]
            self.sources[move] = np.array(wanted, np.int64)
        source = self.sources[move]
        found = np.where(source < 0, np.nan, row[source])
        if move.growth and times is not None and sizes is not None:
            found[times] = center(sizes, cell(sizes, count + move.growth))
        return found


def _of_copy(columns: Columns, place: str, number: int) -> np.ndarray:
    start = f"{place}.{number}"
    inside = [i for a, i in columns.index.items() if a == start or a.startswith(start + ".")]
    return np.array(inside, np.int64)


def drawn_move(
    place: str, count: int, sizes: Domain | None, rng: np.random.Generator
) -> BlockMove | None:
    """A move of ``count`` blocks whose number is one of ``sizes``; None where there is none."""
    kinds = [kind for kind in KINDS if _fits(kind, count, sizes)]
    if not kinds:
        return None
    kind = kinds[rng.integers(len(kinds))]
    first = int(rng.integers(1, count + 1))
    second = int(rng.integers(1, count)) if count > 1 else first
    return BlockMove(place, kind, first, second + (second >= first) if count > 1 else 0)


def _fits(kind: str, count: int, sizes: Domain | None) -> bool:
    growth = BlockMove("", kind, 1).growth
    if not growth:
        return count > 1
    return count > 0 and sizes is not None and sizes.contains(count + growth)
