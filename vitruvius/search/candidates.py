"""Candidates for a surrogate to choose from: random points, and small changes to the best.

Where the space has columns (``vitruvius.space.columns``) they are drawn and measured as arrays;
else (derived numbers of copies, or thousands of decisions) one by one.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.features import Features
from vitruvius.search.leaning import Leaning
from vitruvius.space import Decision, Infeasible, Point, Program, carry, decisions_of
from vitruvius.space.columns import Columns, Unbounded, cell

CHANGES = (1, 2, 4)  # decisions that a move changes, about; each as likely
REACH = 0.15  # standard deviation of a small step along an order
WALKED = 32  # candidates at most, where each has to be walked


class Candidates(ABC):
    """Points with the sums of their features."""

    @abstractmethod
    def sums(self, points: Sequence[Point]) -> np.ndarray:
        """Of points that are given, float32 [points, width]."""

    @abstractmethod
    def handle(self, point: Point) -> Any:
        """What ``draw`` needs of a point to make small changes to it."""

    @abstractmethod
    def draw(
        self, random: int, local: int, best: Sequence[Any], draw: Random
    ) -> tuple[np.ndarray, Any]:
        """Sums of new candidates, and handles on them by number."""

    @abstractmethod
    def log_densities(self, handles: Any, leaning: Leaning) -> np.ndarray:
        """Of new candidates, what a user believes of them, float [candidates]."""

    @abstractmethod
    def point(self, handle: Any) -> Point:
        """The point of a handle. Raises Infeasible where a condition of the space fails."""


def candidates(program: Program, features: Features) -> Candidates:
    try:
        return _Arrays(Columns(program), features)
    except Unbounded:
        return _Walks(program, features)


class _Arrays(Candidates):
    def __init__(self, columns: Columns, features: Features) -> None:
        self.columns = columns
        self.width = features.linear + features.random
        tables = [features.table(a, d) for a, d in zip(columns.index, columns.domains, strict=True)]
        self.table = np.concatenate([*tables, np.zeros((1, self.width), np.float32)])
        sizes = columns.sizes
        self.offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)

    def sums(self, points: Sequence[Point]) -> np.ndarray:
        found = np.zeros((len(points), self.width), np.float32)
        domains = self.columns.domains
        for i, point in enumerate(points):
            for address, label in point.items():
                column = self.columns.index.get(address)
                if column is None or not domains[column].contains(label):
                    continue  # a point of the space before it was edited
                found[i] += self.table[self.offsets[column] + cell(domains[column], label)]
        return found

    def handle(self, point: Point) -> Any:
        return self.columns.row(point, np.full(len(self.columns), np.nan))

    def draw(
        self, random: int, local: int, best: Sequence[Any], draw: Random
    ) -> tuple[np.ndarray, Any]:
        rng = np.random.default_rng(draw.getrandbits(64))
        columns = self.columns
        fresh = rng.random((random + local, len(columns)))
        quantiles = fresh.copy()
        if local and best and len(columns):
            moved = slice(random, None)
            own = np.stack(best)[rng.integers(len(best), size=local)]
            taken = ~np.isnan(own)
            own = np.where(taken, own, fresh[moved])
            changes = rng.choice(CHANGES, size=(local, 1))
            change = taken & (rng.random(own.shape) * taken.sum(1, keepdims=True) < changes)
            one = np.argmax(rng.random(own.shape) * taken, axis=1)  # at least one of those taken
            change[np.arange(local), one] = True
            small = columns.ordered & (rng.random(own.shape) < 0.5)
            step = np.clip(own + REACH * rng.standard_normal(own.shape), 0.0, 1.0 - 1e-9)
            quantiles[moved] = np.where(change, np.where(small, step, fresh[moved]), own)
        cells = columns.cells(quantiles)
        rows = np.where(columns.active(cells), self.offsets + cells, len(self.table) - 1)
        return self._add_up(rows), quantiles

    def _add_up(self, rows: np.ndarray) -> np.ndarray:
        shown = np.zeros((len(rows), len(self.table)), np.float32)
        np.put_along_axis(shown, rows, 1.0, axis=1)
        return shown @ self.table

    def log_densities(self, handles: Any, leaning: Leaning) -> np.ndarray:
        return leaning.logs(self.columns, handles)

    def point(self, handle: Any) -> Point:
        return self.columns.point(handle)


class _Walks(Candidates):
    def __init__(self, program: Program, features: Features) -> None:
        self.program, self.features = program, features
        self.width = features.linear + features.random
        self.tables: dict[str, np.ndarray] = {}

    def sums(self, points: Sequence[Point]) -> np.ndarray:
        found = np.zeros((len(points), self.width), np.float32)
        for i, point in enumerate(points):
            self._walk(point, found[i])
        return found

    def _walk(self, point: Point, into: np.ndarray) -> None:
        def add(decision: Decision) -> Any:
            label = point.get(decision.address, _MISSING)
            if label is _MISSING or not decision.domain.contains(label):
                raise _Left
            table = self.tables.get(decision.address)
            if table is None:
                table = self.features.table(decision.address, decision.domain)
                self.tables[decision.address] = table
            into.__iadd__(table[cell(decision.domain, label)])
            return label

        with contextlib.suppress(_Left, Infeasible):
            self.program.walk(add)

    def handle(self, point: Point) -> Any:
        return point

    def draw(
        self, random: int, local: int, best: Sequence[Any], draw: Random
    ) -> tuple[np.ndarray, Any]:
        share = min(1.0, WALKED / (random + local))
        points = [self.program.sample(draw) for _ in range(max(1, int(random * share)))]
        for _ in range(int(local * share) if best else 0):
            try:
                points.append(self._move(draw.choice(best), draw))
            except Infeasible:
                continue
        return self.sums(points), points

    def _move(self, point: Point, draw: Random) -> Point:
        space = self.program.space
        point = carry(space, point, lambda d: d.domain.sample(draw))
        decisions = decisions_of(space, point)
        if not decisions:
            return point
        changed = dict(point)
        for decision in draw.sample(decisions, min(len(decisions), draw.choice(CHANGES))):
            near = decision.domain.neighbours(point[decision.address])
            small = near and decision.kind != "categorical" and draw.random() < 0.5
            changed[decision.address] = draw.choice(near) if small else decision.domain.sample(draw)
        return carry(space, changed, lambda d: d.domain.sample(draw))

    def log_densities(self, handles: Any, leaning: Leaning) -> np.ndarray:
        return np.array([leaning.log(point) for point in handles])

    def point(self, handle: Any) -> Point:
        return handle


class _Left(Exception):
    """A point of the space before it was edited."""


_MISSING = object()
