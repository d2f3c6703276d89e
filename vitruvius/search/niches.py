"""The best trials of each option that opens decisions of its own.

Source: keeping the best of every kind, not only the best of all: Mouret and Clune 2015,
"Illuminating search spaces by mapping elites", arXiv:1504.04909.
Differs from the source: a kind is one option of the tree, with all designs that take it, and kinds
take turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RUN = 6  # asks in a niche, one after the other, before the next takes its turn
HELD = 6  # best trials of each


@dataclass(frozen=True)
class Niche:
    """All points with one option of a decision; copies of a decision are of one kind."""

    kind: str
    column: int
    cell: int


class Niches:
    """Numbers of the best trials of each niche."""

    def __init__(self, all_: Sequence[Niche]) -> None:
        self.all = all_
        self.best: dict[Niche, list[tuple[float, int]]] = {}

    def add(self, inside: Iterable[Niche], trial: int, gain: float) -> None:
        """A trial ended in these niches."""
        for niche in inside:
            held = self.best.setdefault(niche, [])
            held.append((-gain, trial))
            held.sort()
            del held[HELD:]

    def next(self, turn: int, around: Sequence[Niche]) -> tuple[Niche, list[int]] | None:
        """The niche whose turn it is beside those of the best point, and its best trials.

        Kinds of decisions take turns, and among the options of a kind that the best point could
        have taken instead those with the best trials come first. None where there are none.
        """
        taken = {niche.column: niche.cell for niche in around}
        others: dict[str, list[Niche]] = {}
        for niche in self.all:
            if taken.get(niche.column, niche.cell) != niche.cell:
                others.setdefault(niche.kind, []).append(niche)
        if not others:
            return None
        block = turn // RUN
        own = others[sorted(others)[block % len(others)]]
        own.sort(key=lambda niche: self.best.get(niche, [(float("inf"), 0)])[0][0])
        niche = own[block // len(others) % len(own)]
        return niche, [trial for _, trial in self.best.get(niche, [])]
