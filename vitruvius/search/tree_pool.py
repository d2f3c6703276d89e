"""Points for a process over trees to choose from, as handles: where the space has columns
(``vitruvius.space.columns``) rows of quantiles, else (derived numbers of copies, or thousands of
decisions) points that are walked one by one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.block_moves import Blocks, drawn_move, repeats
from vitruvius.search.features import pattern
from vitruvius.search.leaning import Leaning
from vitruvius.search.niches import Niche
from vitruvius.search.tree_features import Described, Groups, TreeFeatures
from vitruvius.space import Decision, Infeasible, Point, Program, canonical, carry, decisions_of
from vitruvius.space.columns import Columns, Unbounded, cell, center, grid

REACH = (0.15, 0.04)  # standard deviations of a step along an order, each as likely
OPTIONS = 16  # at most of a decision whose options are niches
WALKED = 0.125  # share of the candidates that are drawn where each has to be walked
GROUPS, WIDTH = 32, 16  # hashed groups, and the entries of each, where there are no columns


@dataclass(frozen=True)
class Wanted:
    """How many points of each kind."""

    random: int
    changed: int
    crossed: int
    changes: tuple[int, ...]
    blocks: int = 0


Drawn = tuple[list[Any], Described]


class Pool(ABC):
    """Handles of points, and what the process sees of them."""

    groups: Groups
    niches: Sequence[Niche] = ()
    """Those of the space, where it has columns."""

    def inside(self, handle: Any) -> list[Niche]:
        """The niches that a point is in."""
        return []

    @abstractmethod
    def handle(self, point: Point) -> Any:
        """Of a point of this space, or of the space before it was edited."""

    @abstractmethod
    def point(self, handle: Any, rng: np.random.Generator) -> Point:
        """The point of a handle. Raises Infeasible where a condition of the space fails."""

    @abstractmethod
    def keys(self, handles: Sequence[Any]) -> list[Any]:
        """Of each handle a key that handles of the same point share."""

    @abstractmethod
    def described(self, handles: Sequence[Any]) -> Described: ...

    @abstractmethod
    def log_densities(self, handles: Sequence[Any], leaning: Leaning) -> np.ndarray:
        """What a user believes of points, float [points]."""

    @abstractmethod
    def drawn(
        self,
        parents: Sequence[Any],
        wanted: Wanted,
        rng: np.random.Generator,
        niche: Niche | None = None,
    ) -> Drawn:
        """New points, all of one niche if it is given, and what the process sees of them.

        A change takes about as many decisions of a parent as one of ``wanted.changes``, and at
        least one. Half of the changes along an order are steps, all others new values. What a
        change brings into the point is drawn. A crossing takes each decision from one of two
        parents, where they take it; else it is drawn. A move of blocks (``block_moves.py``) is a
        change where the space has no copies of anything.
        """


def pool_of(program: Program) -> Pool:
    try:
        return _Rows(Columns(program))
    except Unbounded:
        return _Walks(program)


class _Rows(Pool):
    """Handles are rows of quantiles, NaN where a decision is not taken."""

    def __init__(self, columns: Columns) -> None:
        self.columns, self.features = columns, TreeFeatures(columns)
        self.groups = self.features.groups
        self.real = np.array([d.size is None for d in columns.domains], bool)
        self.blocks = Blocks(columns)
        names = list(columns.index)
        gates = [i for i in columns.gates() if columns.sizes[i] <= OPTIONS]
        self.of_gate = {
            i: [Niche(pattern(names[i]), i, cell) for cell in range(columns.sizes[i])]
            for i in gates
        }
        self.niches = [niche for own in self.of_gate.values() for niche in own]

    def handle(self, point: Point) -> Any:
        return self.columns.row(point, np.full(len(self.columns), np.nan))

    def point(self, handle: Any, rng: np.random.Generator) -> Point:
        return self.columns.point(_filled(handle, rng))

    def inside(self, handle: Any) -> list[Niche]:
        if not self.niches:
            return []
        taken = ~np.isnan(handle)
        cells = self.columns.cells(_gapless(handle)[None])[0]
        return [own[cells[column]] for column, own in self.of_gate.items() if taken[column]]

    def keys(self, handles: Sequence[Any]) -> list[Any]:
        rows = _gapless(np.stack(handles))
        cells = self.columns.cells(rows)
        values = np.where(self.real, rows, cells)
        return [row.tobytes() for row in np.where(self.columns.active(cells), values, -1.0)]

    def described(self, handles: Sequence[Any]) -> Described:
        return self.features(_gapless(np.stack(handles)))

    def log_densities(self, handles: Sequence[Any], leaning: Leaning) -> np.ndarray:
        return leaning.logs(self.columns, _gapless(np.stack(handles)))

    def drawn(
        self,
        parents: Sequence[Any],
        wanted: Wanted,
        rng: np.random.Generator,
        niche: Niche | None = None,
    ) -> Drawn:
        rows = np.stack(parents)
        changed = wanted.changed + (0 if self.blocks.places else wanted.blocks)
        quantiles = np.concatenate(
            [
                rng.random((wanted.random, len(self.columns))),
                self._changed(rows, changed, wanted.changes, rng),
                self._crossed(rows, wanted.crossed, rng),
                self._moved(rows, wanted.blocks, rng),
            ]
        )
        if niche is not None:
            domain = self.columns.domains[niche.column]
            quantiles[:, niche.column] = center(domain, niche.cell)
        cells = self.columns.cells(quantiles)
        active = self.columns.active(cells)
        described = self.features.of(quantiles, cells, active)
        return list(np.where(active, quantiles, np.nan)), described

    def _changed(
        self, parents: np.ndarray, count: int, changes: tuple[int, ...], rng: np.random.Generator
    ) -> np.ndarray:
        own = parents[rng.integers(len(parents), size=count)]
        taken, fresh = ~np.isnan(own), rng.random(own.shape)
        own = np.where(taken, own, fresh)
        wanted = rng.choice(np.array(changes), size=(count, 1))
        change = taken & (rng.random(own.shape) * taken.sum(1, keepdims=True) < wanted)
        one = np.argmax(rng.random(own.shape) * taken, axis=1)
        change[np.arange(count), one] = True
        step = rng.choice(np.array(REACH), size=(count, 1)) * rng.standard_normal(own.shape)
        stepped = np.clip(own + step, 0.0, 1.0 - 1e-9)
        small = self.columns.ordered & (rng.random(own.shape) < 0.5)
        return np.where(change, np.where(small, stepped, fresh), own)

    def _crossed(self, parents: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        first, second = (parents[rng.integers(len(parents), size=count)] for _ in range(2))
        mine = rng.random(first.shape) < rng.random((count, 1))
        found, other = np.where(mine, first, second), np.where(mine, second, first)
        return _filled(np.where(np.isnan(found), other, found), rng)

    def _moved(self, parents: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        if not self.blocks.places:
            return np.zeros((0, parents.shape[1]))
        return _filled(self.blocks.moved(parents, count, rng), rng)


class _Walks(Pool):
    """Handles are points. They are described by hashed words of each decision, at its address and
    as a mean over all of its pattern."""

    def __init__(self, program: Program) -> None:
        self.program = program
        groups = np.repeat(np.arange(GROUPS), WIDTH)
        self.groups = Groups(groups, np.concatenate([groups, np.arange(GROUPS)]))

    def handle(self, point: Point) -> Any:
        return point

    def point(self, handle: Any, rng: np.random.Generator) -> Point:
        return handle

    def keys(self, handles: Sequence[Any]) -> list[Any]:
        return [canonical(point) for point in handles]

    def described(self, handles: Sequence[Any]) -> Described:
        found = Described(
            np.zeros((len(handles), GROUPS * WIDTH), np.float32),
            np.zeros((len(handles), GROUPS * (WIDTH + 1)), np.float32),
        )
        for number, point in enumerate(handles):
            self._describe(point, found.place[number], found.whole[number])
        return found

    def log_densities(self, handles: Sequence[Any], leaning: Leaning) -> np.ndarray:
        return np.array([leaning.log(point) for point in handles])

    def _describe(self, point: Point, place: np.ndarray, whole: np.ndarray) -> None:
        counts = whole[GROUPS * WIDTH :]

        def add(decision: Decision) -> Any:
            label = point.get(decision.address, _MISSING)
            if label is _MISSING or not decision.domain.contains(label):
                raise _Left
            kind = pattern(decision.address)
            group = _number(kind) % GROUPS
            counts[group] += 1
            for name, into in ((decision.address, place), (kind, whole)):
                for word, value in _words(name, decision, label):
                    into[group * WIDTH + _number(word) % WIDTH] += value
            return label

        with contextlib.suppress(_Left, Infeasible):
            self.program.walk(add)
        shares = whole[: GROUPS * WIDTH].reshape(GROUPS, WIDTH)
        shares /= np.maximum(counts, 1.0)[:, None]
        counts /= 1.0 + counts

    def drawn(
        self,
        parents: Sequence[Any],
        wanted: Wanted,
        rng: np.random.Generator,
        niche: Niche | None = None,
    ) -> Drawn:
        draw = Random(int(rng.integers(2**63)))
        found: list[Point | None] = []
        found += [self.program.sample(draw) for _ in range(_fewer(wanted.random))]
        for _ in range(_fewer(wanted.changed)):
            found.append(self._changed(draw.choice(parents), wanted.changes, draw))
        for _ in range(_fewer(wanted.crossed)):
            found.append(self._crossed(draw.choice(parents), draw.choice(parents), draw))
        for _ in range(_fewer(wanted.blocks)):
            found.append(self._moved(draw.choice(parents), draw))
        points = [point for point in found if point is not None]
        points = points or [self.program.sample(draw)]
        return points, self.described(points)

    def _changed(self, parent: Point, changes: tuple[int, ...], draw: Random) -> Point | None:
        point = self._whole(parent, draw)
        decisions = decisions_of(self.program.space, point) if point is not None else ()
        if point is None or not decisions:
            return point
        moved = dict(point)
        for decision in draw.sample(decisions, min(len(decisions), draw.choice(changes))):
            moved[decision.address] = _moved(decision, point[decision.address], draw)
        return self._whole(moved, draw)

    def _crossed(self, first: Point, second: Point, draw: Random) -> Point | None:
        share, both = draw.random(), {**second, **first}
        for address in second:
            if draw.random() > share:
                both[address] = second[address]
        return self._whole(both, draw)

    def _moved(self, parent: Point, draw: Random) -> Point | None:
        point = self._whole(parent, draw)
        places = list(repeats(point or ()).items())
        if point is None or not places:
            return self._changed(parent, (1,), draw)
        place, count = places[draw.randrange(len(places))]
        decisions = {d.address: d for d in decisions_of(self.program.space, point)}
        times = decisions.get(f"{place}.times")
        chances = [draw.random() for _ in range(3)]
        move = drawn_move(place, count, times and times.domain, chances)
        if move is None:
            return point
        last = f"{place}.{count}"
        more = [f"{place}.{count + 1}{a[len(last) :]}" for a in point if a.startswith(last)]
        found = {a: point[move.source(a)] for a in [*point, *more] if move.source(a) in point}
        if times is not None:
            found[times.address] = count + move.growth
        return self._whole(found, draw)

    def _whole(self, point: Point, draw: Random) -> Point | None:
        try:
            return carry(self.program.space, point, lambda d: d.domain.sample(draw))
        except Infeasible:
            return None


class _Left(Exception):
    """A point of the space before it was edited."""


_MISSING = object()


def _words(name: str, decision: Decision, label: Any) -> list[tuple[str, float]]:
    domain = decision.domain
    if domain.kind == "categorical":
        return [(f"{name}={type(label).__name__}:{label}", 0.7), (name, 0.5)]
    fine = domain.size is None or domain.size != grid(domain)
    position = domain.position(label) if fine else center(domain, cell(domain, label))
    return [(f"{name}~", position - 0.5), (name, 0.5)]


def _moved(decision: Decision, label: Any, draw: Random) -> Any:
    domain = decision.domain
    if decision.kind == "categorical" or draw.random() < 0.5:
        return domain.sample(draw)
    step = draw.choice(REACH) * draw.gauss(0.0, 1.0)
    return domain.at(min(max(domain.position(label) + step, 0.0), 1.0 - 1e-9))


def _gapless(quantiles: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(quantiles), 0.5, quantiles)


def _filled(quantiles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(np.isnan(quantiles), rng.random(quantiles.shape), quantiles)


def _fewer(count: int) -> int:
    return max(1, round(count * WALKED)) if count else 0


@functools.lru_cache(maxsize=100_000)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
