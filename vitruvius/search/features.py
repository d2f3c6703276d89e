"""What a surrogate sees of a point: numbers that add up over its decisions.

Each decision speaks under its address and, more softly, under its pattern (the address without the
numbers of copies), so that what is learnt of one copy helps with the next. A categorical decision
has a feature for each label; one with an order has its presence and a few waves over its position.
The names are hashed (sha256, never Python's salted hash) into a table of fixed width, so that
spaces of any length have features of one length. Beside these stand random Fourier features
(Rahimi and Recht 2007, "Random Features for Large-Scale Kernel Machines"), each over a random part
of the decisions: they let the surrogate see how decisions act together.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.space import Domain
from vitruvius.space.columns import center, grid

WAVES = (1.0, 0.5, 0.25)  # weights of cos(pi k position), k = 1, 2, 3
SHARES = (1.0, 0.5, 0.25)  # of the decisions that a third of the random features each looks at
STEEPNESS = 3.0  # distance between the ends of an order, where two labels are sqrt(2) apart
KIN = 0.5  # weight of the pattern beside the address


@dataclass(frozen=True)
class Features:
    """A map from points to vectors of ``1 + linear + random`` numbers."""

    linear: int
    random: int
    seed: int

    @property
    def width(self) -> int:
        return 1 + self.linear + self.random

    def table(self, address: str, domain: Domain) -> np.ndarray:
        """What each cell of a decision adds, float32 [cells, linear + random]."""
        rows = np.zeros((grid(domain), self.linear + self.random), np.float32)
        names = ((address, 1.0), (pattern(address), KIN))
        for number in range(len(rows)):
            for name, weight in names:
                for word, value in self._hashed(name, domain, number):
                    digest = hashlib.sha256(word.encode()).digest()
                    column = int.from_bytes(digest[:4]) % self.linear if self.linear else 0
                    if self.linear:
                        rows[number, column] += weight * value * (1 if digest[4] & 1 else -1)
        if self.random:
            rows[:, self.linear :] = self._frequencies(address, domain)
        return rows

    def phases(self) -> np.ndarray:
        """Shifts of the random waves, float32 [random]."""
        draw = np.random.default_rng(self._number("phases"))
        return draw.uniform(0, 2 * math.pi, self.random).astype(np.float32)

    def finish(self, sums: np.ndarray, phases: np.ndarray) -> np.ndarray:
        """Features [points, width] of the sums over decisions [points, linear + random]."""
        found = np.empty((len(sums), self.width), np.float32)
        found[:, 0] = 1.0
        found[:, 1 : 1 + self.linear] = sums[:, : self.linear] * 0.5
        waves = found[:, 1 + self.linear :]
        np.add(sums[:, self.linear :], phases, out=waves)
        np.cos(waves, out=waves)
        waves *= math.sqrt(2.0 / max(self.random, 1))
        return found

    def _hashed(self, name: str, domain: Domain, number: int) -> Iterator[tuple[str, float]]:
        if domain.kind == "categorical":
            yield f"{name}={_written(domain.at((number + 0.5) / grid(domain)))}", 1.0
            return
        yield name, 0.5
        for k, weight in enumerate(WAVES, 1):
            yield f"{name}~{k}", weight * math.cos(math.pi * k * center(domain, number))

    def _frequencies(self, address: str, domain: Domain) -> np.ndarray:
        """What each cell adds to the argument of each random wave: a third of the waves looks at
        all decisions, a third at half of them, a third at a quarter."""
        draw = np.random.default_rng(self._number(address))
        looked = np.repeat(SHARES, -(-self.random // len(SHARES)))[: self.random]
        seen = draw.random(self.random) < looked
        if domain.kind == "categorical":
            labels = np.stack([
                np.random.default_rng(
                    self._number(f"{address}={_written(domain.at((i + 0.5) / grid(domain)))}")
                ).standard_normal(self.random)
                for i in range(grid(domain))
            ])  # fmt: skip
            return (labels * seen).astype(np.float32)
        slope = draw.standard_normal(self.random) * STEEPNESS
        present = draw.standard_normal(self.random) * 0.7
        positions = np.array([center(domain, i) for i in range(grid(domain))])
        return ((np.outer(positions, slope) + present) * seen).astype(np.float32)

    def _number(self, word: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{word}".encode()).digest()[:8])


def pattern(address: str) -> str:
    """The address with the numbers of copies taken out: ``repeat.2.norm`` -> ``repeat.*.norm``."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", address)


def _written(label: Any) -> str:
    return f"{type(label).__name__}:{label}"
