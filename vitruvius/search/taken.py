"""Which points have a trial that runs or has ended."""

from __future__ import annotations

from vitruvius.space import Point, canonical


class Taken:
    """Trials of each point, counted by canonical JSON: one that is lost gives its point back."""

    def __init__(self) -> None:
        self._trials: dict[str, int] = {}

    def add(self, point: Point) -> None:
        key = canonical(point)
        self._trials[key] = self._trials.get(key, 0) + 1

    def drop(self, point: Point) -> None:
        key = canonical(point)
        self._trials[key] -= 1
        if not self._trials[key]:
            del self._trials[key]

    def __contains__(self, key: str) -> bool:
        return key in self._trials
