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

