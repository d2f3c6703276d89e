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
from collections.abc import Iterable, Sequence
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
            (
                place,
                columns.index.get(f"{place}.times"),
                [_of_copy(columns, place, number) for number in range(1, count + 1)],
            )
            for place, count in repeats(columns.index).items()
        ]
        self._known: dict[BlockMove, np.ndarray] = {}

    def moved(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """So many rows, each after one move of the copies of one repeat; as it was where that has
        no copies there."""
        taken = ~np.isnan(rows)
        counts = [
            sum(taken[:, copy].any(1).astype(int) for copy in copies)
            for _, _, copies in self.places
        ]
        own = rng.integers(len(rows), size=count)
        where = rng.integers(len(self.places), size=count)
        chances = rng.random((count, 3))
        sources = np.tile(np.arange(rows.shape[1]), (count, 1))
        sizes: list[tuple[int, int, float]] = []  # rows, columns and quantiles of new numbers
        for number, (row, at) in enumerate(zip(own, where, strict=True)):
            place, times, _ = self.places[at]
            domain = self.columns.domains[times] if times is not None else None
            copies = int(counts[at][row])
            move = drawn_move(place, copies, domain, chances[number])
            if move is None:
                continue
            sources[number] = self._sources(move)
            if move.growth and times is not None and domain is not None:
                sizes.append((number, times, center(domain, cell(domain, copies + move.growth))))
        found = np.take_along_axis(rows[own], np.maximum(sources, 0), axis=1)
        found[sources < 0] = np.nan
        for number, times, quantile in sizes:
            found[number, times] = quantile
        return found

    def _sources(self, move: BlockMove) -> np.ndarray:
        """Of each column the one that it takes its quantile from; -1: none."""
        if move not in self._known:
            index = self.columns.index
            self._known[move] = np.array([index.get(move.source(a), -1) for a in index], np.int64)
        return self._known[move]


def _of_copy(columns: Columns, place: str, number: int) -> np.ndarray:
    start = f"{place}.{number}"
    inside = [i for a, i in columns.index.items() if a == start or a.startswith(start + ".")]
    return np.array(inside, np.int64)


def drawn_move(
    place: str, count: int, sizes: Domain | None, chances: Sequence[float]
) -> BlockMove | None:
    """A move of ``count`` blocks whose number is one of ``sizes``, by three numbers in [0, 1): all
    kinds as likely, then all blocks. None where there is none."""
    kinds = list(KINDS[:2]) if count > 1 else []
    if sizes is not None and count:
        kinds += [kind for kind, more in zip(KINDS[2:], (1, -1), strict=True)
                  if sizes.contains(count + more)]  # fmt: skip
    if not kinds:
        return None
    kind = kinds[int(chances[0] * len(kinds))]
    first = 1 + int(chances[1] * count)
    if kind in KINDS[2:]:
        return BlockMove(place, kind, first)
    second = 1 + int(chances[2] * (count - 1))
    return BlockMove(place, kind, first, second + (second >= first))
