"""Many points at once, as arrays of quantiles: one row a point, one column a decision.

Every decision that some point can reach has a column, and every entry a value, also where the
decision is not active; ``active`` says which are, following the options taken. So drawing ten
thousand points, or moving a few decisions of each, is a handful of array operations. Conditions
(``where``) and checks of nodes are left to ``point``, which walks the program.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vitruvius.space.domains import Choice, Domain, Integers
from vitruvius.space.operations import Decide, Enter, Gate, Operation, Point
from vitruvius.space.program import Program

BINS = 32  # cells of a column of real numbers, or of more whole numbers than that

Quantiles = np.ndarray  # float [points, decisions], in [0, 1)
Cells = np.ndarray  # int [points, decisions]
Active = np.ndarray  # bool [points, decisions]


class Unbounded(Exception):
    """The space has too many decisions for columns, or copies whose number is derived."""


def grid(domain: Domain) -> int:
    """How many cells a domain is cut into: one for each label, or ``BINS``."""
    if isinstance(domain, Choice):
        return domain.size
    return BINS if domain.size is None or domain.size > BINS else domain.size


def cell(domain: Domain, label: Any) -> int:
    """The cell that a label lies in."""
    size = grid(domain)
    if size == domain.size:
        return label - domain.low if isinstance(domain, Integers) else domain.index(label)  # type: ignore[attr-defined]
    return min(int(domain.position(label) * size), size - 1)


def center(domain: Domain, number: int) -> float:
    """The position in [0, 1] of the middle of a cell."""
    if isinstance(domain, Integers) and domain.size == grid(domain):
        return domain.position(domain.low + number)
    return (number + 0.5) / grid(domain)


def _cells_of_whole(domain: Integers, quantiles: np.ndarray) -> np.ndarray:
    """The cells of the whole numbers at these quantiles."""
    low = high = 0.0
    if domain.log:
        low, high = math.log(domain.low - 0.5), math.log(domain.high + 0.5)
        labels = np.rint(np.exp(low + quantiles * (high - low))).clip(domain.low, domain.high)
    else:
        labels = domain.low + np.floor(quantiles * domain.size).clip(0, domain.size - 1)
    if domain.size <= BINS:
        return (labels - domain.low).astype(np.int64)
    if domain.log:
        positions = (np.log(labels) - low) / (high - low)
    else:
        positions = (labels - domain.low + 0.5) / domain.size
    return np.minimum((positions * BINS).astype(np.int64), BINS - 1)


class Columns:
    """The decisions of a space as columns, and where each is active. Raises Unbounded."""

    def __init__(self, program: Program, limit: int = 1000) -> None:
        self.program, self.limit = program, limit
        self.domains: list[Domain] = []
        self.index: dict[str, int] = {}
        self._places: list[list[int]] = []  # of each decision: where it stands
        self._contexts: list[tuple[int, int, np.ndarray]] = []  # parent, decision, its open cells
        self._visit(program.root.operations, -1)
        self.sizes = np.array([grid(d) for d in self.domains], np.int64)
        self.ordered = np.array([d.kind != "categorical" for d in self.domains], bool)
        self._whole = [  # columns where rounding to a label may lead to another cell
            (i, d)
            for i, d in enumerate(self.domains)
            if isinstance(d, Integers) and (d.log or d.size > BINS)
        ]

    def __len__(self) -> int:
        return len(self.domains)

    def gates(self) -> list[int]:
        """Columns of decisions of which an option opens others."""
        return sorted({decision for _, decision, _ in self._contexts})

    def cells(self, quantiles: Quantiles) -> Cells:
        """The cell of each entry."""
        found = (quantiles * self.sizes).astype(np.int64)
        np.minimum(found, self.sizes - 1, out=found)
        for column, domain in self._whole:
            found[:, column] = _cells_of_whole(domain, quantiles[:, column])
        return found

    def active(self, cells: Cells) -> Active:
        """Which decisions each point takes."""
        rows = len(cells)
        everywhere = np.ones(rows, bool)
        open_: list[np.ndarray] = []
        for parent, decision, allowed in self._contexts:
            inside = allowed[cells[:, decision]]
            open_.append(inside if parent < 0 else inside & open_[parent])
        taken = np.empty((rows, len(self)), bool)
        for column, places in enumerate(self._places):
            if places[0] < 0:
                taken[:, column] = everywhere
                continue
            taken[:, column] = open_[places[0]]
            for place in places[1:]:
                taken[:, column] |= open_[place]
        return taken

    def row(self, point: Mapping[str, Any], fill: np.ndarray) -> np.ndarray:
        """The quantiles of a point; what it does not decide is taken from ``fill``."""
        quantiles = fill.copy()
        for address, label in point.items():
            column = self.index.get(address)
            if column is not None and self.domains[column].contains(label):
                quantiles[column] = self.domains[column].position(label)
        return quantiles

    def point(self, quantiles: np.ndarray) -> Point:
        """The point of one row. Raises Infeasible where a condition of the space fails."""
        index = self.index
        return self.program.walk(lambda d: d.domain.at(float(quantiles[index[d.address]])))

    # ---------------------------------------------------------------- unfolding

    def _visit(self, operations: Iterable[Operation], context: int) -> None:
        for operation in operations:
            if isinstance(operation, Decide):
                decision = operation.decision
                column = self.index.setdefault(decision.address, len(self.domains))
                if column == len(self.domains):
                    self.domains.append(decision.domain)
                    self._places.append([])
                places = self._places[column]
                if -1 not in places:
                    places[:] = [-1] if context < 0 else [*places, context]
            elif isinstance(operation, Enter):
                self._enter(operation, context)
            elif isinstance(operation, Gate):
                raise Unbounded(f"{operation.address} is derived: its copies have no columns.")
            if len(self.domains) > self.limit or len(self._contexts) > 4 * self.limit:
                raise Unbounded(f"The space has more than {self.limit} decisions.")

    def _enter(self, operation: Enter, context: int) -> None:
        domain = operation.decision.domain
        if domain.size is None or domain.size != grid(domain):
            if operation.decision.block(domain.at(1.0)).operations:
                raise Unbounded(f"{operation.decision.address} brings too many copies for columns.")
            return
        held: dict[int, tuple[Operation, set[int]]] = {}  # what stands in several options, once
        for number in range(domain.size):
            label = domain.low + number if isinstance(domain, Integers) else domain.labels[number]  # type: ignore[attr-defined]
            for inner in operation.decision.block(label).operations:
                held.setdefault(id(inner), (inner, set()))[1].add(number)
        groups: dict[frozenset[int], list[Operation]] = {}
        for inner, numbers in held.values():
            groups.setdefault(frozenset(numbers), []).append(inner)
        for numbers, inside in groups.items():
            allowed = np.zeros(domain.size, bool)
            allowed[list(numbers)] = True
            column = self.index[operation.decision.address]
            self._contexts.append((context, column, allowed))
            self._visit(inside, len(self._contexts) - 1)
