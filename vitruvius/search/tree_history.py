"""What a process over trees keeps of the trials that ended: descriptions, ranks, targets."""

from __future__ import annotations

import math

import numpy as np

from vitruvius.search.tree_features import Described

BELOW = 0.5  # by how much what failed lies below the worst


class Rows:
    """Descriptions of the ended trials, in arrays that grow."""

    def __init__(self) -> None:
        self.count = 0
        self.held: Described | None = None

    def add(self, one: Described) -> None:
        if self.held is None:
            self.held = one.take(np.zeros(64, np.int64))
        if self.count == len(self.held):
            self.held = self.held.with_(self.held)
        self.held.place[self.count], self.held.whole[self.count] = one.place[0], one.whole[0]
        self.count += 1

    def take(self, numbers: np.ndarray) -> Described | None:
        """Some of them; None where there are none at all."""
        return None if self.held is None else self.held.take(numbers)


class Ranked:
    """Gains as they come, and their numbers from the highest to the lowest, in arrays that grow."""

    def __init__(self) -> None:
        self.count = 0
        self.held, self.falling = np.zeros(64), np.zeros(64)
        self.numbers = np.zeros(64, np.int64)

    def add(self, gain: float) -> None:
        count = self.count
        if count == len(self.held):
            for name in ("held", "falling", "numbers"):
                setattr(self, name, np.concatenate([getattr(self, name)] * 2))
        at = np.searchsorted(self.falling[:count], -gain, "right")
        for array, value in ((self.falling, -gain), (self.numbers, count)):
            array[at + 1 : count + 1] = array[at:count]
            array[at] = value
        self.held[count] = gain
        self.count += 1

    def values(self) -> np.ndarray:
        return self.held[: self.count]

    def order(self) -> np.ndarray:
        """The first of two that are equal stands first."""
        return self.numbers[: self.count]


class Warp:
    """Turns gains into targets: they are counted over the median of all, in units of how far the
    upper half lies above it; what is below it is pressed, z to -ln(1 - z), and what failed lies
    below the worst."""

    def __init__(self, gains: np.ndarray) -> None:
        known = gains[np.isfinite(gains)]
        self.middle = float(np.median(known)) if len(known) else 0.0
        above = known[known >= self.middle] - self.middle
        unit = math.sqrt(float(np.mean(above**2))) if len(known) else 0.0
        self.unit = unit if unit > 0 else 1.0
        self.lowest = float(known.min()) if len(known) else 0.0

    def __call__(self, gains: np.ndarray) -> np.ndarray:
        failed = ~np.isfinite(gains)
        z = (np.where(failed, self.lowest, gains) - self.middle) / self.unit
        return np.where(z < 0, -np.log1p(np.maximum(-z, 0.0)), z) - BELOW * failed


def centred(targets: np.ndarray) -> np.ndarray:
    return targets - targets.mean() if len(targets) else targets
