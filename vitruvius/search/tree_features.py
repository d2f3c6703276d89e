"""What a process over trees sees of a point: every decision where it stands, and what it is as a
whole.

Two vectors describe a point. *Place*: each decision under its own address, absent decisions
included, as Hutter and Osborne 2013, "A kernel for hierarchical parameter spaces", arXiv:1310.5738,
tell active from inactive ones. *Whole*: what holds wherever it stands: shares of each option
among the copies of a decision, means over positions, shares of neighbouring pairs of options (the
histograms that a Weisfeiler-Lehman kernel counts; Ru et al. 2021, "Interpretable neural
architecture search via Bayesian optimisation with Weisfeiler-Lehman kernels", arXiv:2006.07556),
and how many copies there are. Entries of one decision, or of one kind of decision, form a group
with a length scale of its own; copies of a decision share theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitruvius.search.features import pattern
from vitruvius.space import Domain
from vitruvius.space.columns import BINS, Columns, Unbounded, center, grid

ENTRIES = 8_000_000  # of the table at most; larger spaces are walked
GROUPS = 64  # at most; where there are more kinds of decisions, some share a length scale
PAIRS = 100  # pairs of options at most, for which neighbours are counted
FAR = math.sqrt(0.5)  # two options are 1 apart


@dataclass(frozen=True, eq=False)
class Described:
    """Points by place and as a whole, float32 [points, width] each."""

    place: np.ndarray
    whole: np.ndarray

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: np.ndarray) -> Described:
        return Described(self.place[rows], self.whole[rows])

    def with_(self, more: Described) -> Described:
        return Described(
            np.concatenate([self.place, more.place]), np.concatenate([self.whole, more.whole])
        )


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of each entry of the two vectors, int [width] each."""

    place: np.ndarray
    whole: np.ndarray


class TreeFeatures:
    """Descriptions of points that are given as quantiles, by a few products of matrices.

    Raises Unbounded where these would be too large.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        options = np.array([grid(d) if d.kind == "categorical" else 2 for d in columns.domains])
        if columns.sizes.sum() * (2 * options + 1).sum() > ENTRIES:
            raise Unbounded(f"A table of {len(columns)} decisions is too large.")
        kinds = [pattern(address) for address in columns.index]
        self.names = sorted(set(kinds))
        kind = np.array([self.names.index(name) for name in kinds], np.int64)
        self.offsets = (np.cumsum(columns.sizes) - columns.sizes).astype(np.int64)
        self.cells = int(columns.sizes.sum())
        self._by_place(kind)
        self._as_a_whole(kind)

    # ---------------------------------------------------------------- describing

    def __call__(self, quantiles: np.ndarray) -> Described:
        """Of rows without gaps; what is not active does not count."""
        cells = self.columns.cells(quantiles)
        return self.of(quantiles, cells, self.columns.active(cells))

    def of(self, quantiles: np.ndarray, cells: np.ndarray, active: np.ndarray) -> Described:
        """Of rows whose cells are known, and which of them count."""
        rows = np.where(active, self.offsets + cells, self.cells)
        shown = np.zeros((len(rows), self.cells + 1), np.float32)
        np.put_along_axis(shown, rows, 1.0, axis=1)
        sums = shown[:, :-1] @ self.table
        self._refine(sums, quantiles, cells, active)
        counts = shown[:, :-1] @ self.counting
        shares = np.zeros((len(rows), len(self.groups.whole)), np.float32)
        width = len(self.groups.place)
        means = len(self.of_means)
        shares[:, :means] = sums[:, width:] / np.maximum(counts, 1.0)[:, self.of_means]
        for number, columns, size, start in self.pairs:
            first, second = columns[:-1], columns[1:]
            beside = active[:, first] & active[:, second]
            which = cells[:, first] * size + cells[:, second]
            which += np.arange(len(rows))[:, None] * (size * size)
            found = np.bincount(which[beside], minlength=len(rows) * size * size)
            share = found.reshape(len(rows), -1) / np.maximum(counts[:, [number]] - 1, 1.0)
            shares[:, start : start + size * size] = share
        shares[:, len(self.groups.whole) - len(self.repeated) :] = (
            counts[:, self.repeated] / self.most
        )
        return Described(sums[:, :width], shares)

    def _refine(
        self, sums: np.ndarray, quantiles: np.ndarray, cells: np.ndarray, active: np.ndarray
    ) -> None:
        """Where a decision has more values than cells: by how much each is beside its cell."""
        for column, place, whole in self.fine:
            own = quantiles[:, column] - 0.5
            middle = (cells[:, column] + 0.5) / BINS - 0.5
            there = active[:, column]
            sums[:, place] += there * (own - middle)
            if whole is not None:
                sums[:, whole] += there * (own - middle)
                sums[:, whole + 1] += there * 2 * (own**2 - middle**2)

    # ------------------------------------------------------------------- tables

    def _by_place(self, kind: np.ndarray) -> None:
        tables = [_placed(domain) for domain in self.columns.domains]
        widths = np.array([table.shape[1] for table in tables], np.int64)
        self.table = np.zeros((self.cells, int(widths.sum())), np.float32)
        start = 0
        for offset, table in zip(self.offsets, tables, strict=True):
            self.table[offset : offset + len(table), start : start + table.shape[1]] = table
            start += table.shape[1]
        self.of_place = np.repeat(kind, widths)
        self.starts = np.cumsum(widths) - widths

    def _as_a_whole(self, kind: np.ndarray) -> None:
        domains, sizes = self.columns.domains, self.columns.sizes
        copies = [np.flatnonzero(kind == number) for number in range(len(self.names))]
        groups: list[int] = []
        tables: list[np.ndarray] = []
        for number, columns in enumerate(copies):
            first = columns[0]
            alike = all(sizes[c] == sizes[first] for c in columns)
            table = _shared(domains[first]) if alike else np.ones((int(sizes[first]), 0))
            tables.append(table)
            groups += [number] * table.shape[1]
        starts = np.concatenate([[0], np.cumsum([t.shape[1] for t in tables])]).astype(np.int64)
        means = np.zeros((self.cells, len(groups)), np.float32)
        self.counting = np.zeros((self.cells, len(self.names)), np.float32)
        for column, number in enumerate(kind):
            rows = slice(self.offsets[column], self.offsets[column] + sizes[column])
            self.counting[rows, number] = 1.0
            if tables[number].shape[1]:
                means[rows, starts[number] : starts[number + 1]] = tables[number]
        self.of_means = np.array(groups, np.int64)
        width = self.table.shape[1]
        self.fine = [  # columns, and their entries of the sums by place and as a whole
            (i, int(self.starts[i]), width + int(starts[kind[i]]) if tables[kind[i]].size else None)
            for i, domain in enumerate(domains)
            if domain.size is None or domain.size > BINS
        ]
        self.table = np.concatenate([self.table, means], axis=1)
        count = len(self.names)
        self.pairs: list[tuple[int, np.ndarray, int, int]] = []
        for number, columns in enumerate(copies):
            size = int(sizes[columns[0]])
            if len(columns) < 2 or domains[columns[0]].kind != "categorical":
                continue
            if size * size > PAIRS or not tables[number].shape[1]:
                continue
            self.pairs.append((number, columns, size, len(groups)))
            groups += [count] * (size * size)
            count += 1
        repeated = [number for number, columns in enumerate(copies) if len(columns) > 1]
        self.repeated = np.array(repeated, np.int64)
        self.most = np.array([len(copies[number]) for number in repeated], np.float32)
        groups += [count] * len(repeated)
        self.groups = Groups(self.of_place % GROUPS, np.array(groups, np.int64) % GROUPS)


def _placed(domain: Domain) -> np.ndarray:
    """What each cell of a decision says where it stands; nothing at all is said of absent ones."""
    size = grid(domain)
    there = np.full((size, 1), 0.5)
    if domain.kind == "categorical":
        return np.concatenate([np.eye(size) * FAR, there], axis=1)
    return np.concatenate([_positions(domain)[:, None] - 0.5, there], axis=1)


def _shared(domain: Domain) -> np.ndarray:
    """What each cell says wherever it stands: its option, or its position and how far out it is."""
    if domain.kind == "categorical":
        return np.eye(grid(domain))
    position = _positions(domain) - 0.5
    return np.stack([position, 2 * position**2], axis=1)


def _positions(domain: Domain) -> np.ndarray:
    return np.array([center(domain, number) for number in range(grid(domain))])
