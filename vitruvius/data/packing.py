"""Documents into rows of tokens: padded, packed, or cut from one stream.

Sources: first-fit decreasing: Johnson 1973, "Near-optimal bin packing algorithms", MIT; packing
before prefilling: Zhao et al. 2024, "Prepacking", arXiv:2404.09529, section 3; one stream: Liu et
al. 2019, "RoBERTa", arXiv:1907.11692, section 4.2.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitruvius.contracts import Array
from vitruvius.data.errors import DataError, numbered
from vitruvius.space import Node, hyper, one_of

SMALL, FLAG = np.int32, np.int8
Longer = Literal["cut", "start", "leave_out", "refuse"]


@dataclass(frozen=True)
class Frame:
    """A token before and one after each document, or part of one: <cls> and <sep>, <bos>, <eos>."""

    before: int | None = None
    after: int | None = None

    @property
    def size(self) -> int:
        return (self.before is not None) + (self.after is not None)


@dataclass(frozen=True, eq=False)
class Plan:
    """Which part of which document lies where. Arrays [P], in the order of rows and places.

    They are of 32 bits, and the flags of 8: a corpus of some GB has millions of parts.
    """

    capacity: int
    """Tokens of a row."""
    rows: int
    items: int
    """Documents that were given."""
    document: Array
    start: Array
    """First token of the part, in its document; ``stop`` is the one after its last."""
    stop: Array
    before: Array
    """1 where the frame's token before the part belongs to it; ``after`` alike."""
    after: Array
    row: Array
    at: Array
    """Place of its first token in the row, that of the frame included."""
    segment: Array
    """From 1 in each row; parts of one segment share positions."""
    cut: int = 0
    """Documents in more than one part."""
    lost: int = 0
    """Tokens left out of documents that were longer than a row."""

    @functools.cached_property
    def lengths(self) -> Array:
        """Tokens of each part, frame included."""
        return self.stop - self.start + self.before + self.after

    @functools.cached_property
    def filled(self) -> Array:
        """Tokens in each row, [rows]."""
        return np.bincount(self.row, self.lengths, self.rows).astype(np.int64)

    @property
    def waste(self) -> float:
        """Share of the slots that is padding where every row has the full capacity."""
        slots = self.rows * self.capacity
        return 1 - int(self.lengths.sum()) / slots if slots else 0.0

    @property
    def whole(self) -> bool:
        """Row i is document i and nothing else, so that answers can be told by row."""
        return self.rows == self.items and np.array_equal(self.document, np.arange(self.items))

    @functools.cached_property
    def bounds(self) -> Array:
        """The parts of row r are those from ``bounds[r]`` up to ``bounds[r + 1]``; [rows + 1]."""
        return np.append(0, np.cumsum(np.bincount(self.row, minlength=self.rows)))

    def note(self) -> str:
        """What happened, for a person; empty where nothing was cut or lost."""
        said = []
        if self.cut:
            said.append(f"{self.cut:,} documents are cut to rows of {self.capacity:,} tokens")
        if self.lost:
            said.append(f"{self.lost:,} tokens of documents longer than a row are left out")
        return "; ".join(said)


@dataclass(frozen=True)
class Packer(Node, ABC):
    """Says where each document lies, from their lengths in tokens."""

    @abstractmethod
    def plan(self, lengths: Array, capacity: int, frame: Frame | None = None) -> Plan:
        """Rows of ``capacity`` tokens for documents of these lengths."""


@dataclass(frozen=True)
class Padded(Packer):
    """One document, or part of one, in each row; the rest of the row is padding.

    An empty document has a row too, so that with "start" row i is document i.
    """

    longer: Longer = hyper("cut", doc="documents longer than a row: cut, start, leave_out, refuse")

    def check(self) -> None:
        _check_longer(self, self.longer)

    def plan(self, lengths: Array, capacity: int, frame: Frame | None = None) -> Plan:
        def place(sizes: Array) -> Array:
            return np.arange(len(sizes), dtype=SMALL)

        return _in_bins(lengths, capacity, frame or Frame(), self.longer, place, least=1)


@dataclass(frozen=True)
class Packed(Packer):
    """Several documents in a row, each a segment of its own with positions from 0.

    Parts go by decreasing length into the first row with room for them (first-fit decreasing: at
    most 11/9 of the fewest rows, and one more). No document is cut that fits into a row; of a
    longer one every part but the last fills a row. Empty documents are left out.
    """

    longer: Longer = hyper("cut", doc="documents longer than a row: cut, start, leave_out, refuse")

    def check(self) -> None:
        _check_longer(self, self.longer)

    def plan(self, lengths: Array, capacity: int, frame: Frame | None = None) -> Plan:
        def place(sizes: Array) -> Array:
            return first_fit_decreasing(sizes, capacity)

        return _in_bins(lengths, capacity, frame or Frame(), self.longer, place)


@dataclass(frozen=True)
class Concatenated(Packer):
    """All documents as one stream, cut wherever a row is full: no padding but in the last row."""

    across: bool = hyper(
        True, one_of(True, False), "a row is one segment, over the borders of documents (RoBERTa)"
    )

    def plan(self, lengths: Array, capacity: int, frame: Frame | None = None) -> Plan:
        frame = frame or Frame()
        sizes = _lengths(lengths)
        _check_capacity(capacity, frame)
        kept = np.flatnonzero(sizes)
        ends = np.cumsum(sizes[kept] + frame.size)
        total = int(ends[-1]) if len(ends) else 0
        begins = ends - sizes[kept] - frame.size
        borders = np.unique(np.concatenate([begins, np.arange(0, total, capacity)]))
        nexts = np.append(borders[1:], total)
        if not total:
            borders = nexts = np.zeros(0, np.int64)
        owner = np.searchsorted(ends, borders, side="right")
        lead, trail = int(frame.before is not None), int(frame.after is not None)
        low, high = borders - begins[owner], nexts - begins[owner]  # within the framed document
        size = sizes[kept][owner]
        start, stop = np.clip(low - lead, 0, size), np.clip(high - lead, 0, size)
        row = borders // capacity
        at = borders % capacity
        segment = np.ones(len(row), np.int64) if self.across else _ranks(row) + 1
        return Plan(
            capacity,
            -(-total // capacity),
            len(sizes),
            kept[owner].astype(SMALL),
            start.astype(SMALL),
            stop.astype(SMALL),
            ((low == 0) & (lead == 1)).astype(FLAG),
            ((high == size + frame.size) & (trail == 1)).astype(FLAG),
            row.astype(SMALL),
            at.astype(SMALL),
            segment.astype(SMALL),
            cut=int((np.bincount(owner, minlength=1) > 1).sum()),
        )


def first_fit_decreasing(sizes: Array, capacity: int) -> Array:
    """The bin of each item: in the order of decreasing size, the first with room for it.

    Equal sizes are placed at once: the first bins take as many as fit, in turn. So the time is that
    of one pass over the open bins for each different size.
    """
    if not len(sizes):
        return np.zeros(0, SMALL)
    if sizes.min() < 1 or sizes.max() > capacity:
        raise DataError(
            f"first_fit_decreasing needs sizes from 1 to {capacity}; "
            f"got {sizes.min()} to {sizes.max()}."
        )
    sizes = sizes.astype(SMALL)
    order = np.argsort(-sizes, kind="stable").astype(SMALL)
    different, counts = np.unique(sizes, return_counts=True)
    least = int(different[0])
    bins = np.zeros(len(sizes), SMALL)
    room = np.zeros(0, SMALL)  # of the bins that may still take something, in order
    names = np.zeros(0, SMALL)
    made = done = 0
    for size, count in zip(different[::-1].tolist(), counts[::-1].tolist(), strict=True):
        fits = np.flatnonzero(room >= size)
        takes = np.minimum(np.cumsum(room[fits] // size), count)
        takes = np.diff(takes, prepend=0)
        new, per = count - int(takes.sum()), capacity // size
        opened = -(-new // per)
        fresh = np.full(opened, per, SMALL)
        if opened:
            fresh[-1] = new - per * (opened - 1)
        opening = np.arange(made, made + opened, dtype=SMALL)
        chosen = np.concatenate([names[fits], opening])
        bins[order[done : done + count]] = np.repeat(chosen, np.concatenate([takes, fresh]))
        room[fits] -= (takes * size).astype(SMALL)
        room = np.concatenate([room, capacity - fresh * size], dtype=SMALL)
        names = np.concatenate([names, opening])
        made, done = made + opened, done + count
        open_still = room >= least
        if 2 * int(open_still.sum()) < len(room):
            room, names = room[open_still], names[open_still]
    return bins


def _in_bins(
    lengths: Array,
    capacity: int,
    frame: Frame,
    longer: Longer,
    place: Callable[[Array], Array],
    least: int = 0,
) -> Plan:
    """Parts of at most a row each, in the rows that ``place`` gives for their sizes."""
    sizes = _lengths(lengths)
    _check_capacity(capacity, frame)
    most = capacity - frame.size
    long = np.flatnonzero(sizes > most)
    if len(long) and longer == "refuse":
        raise DataError(
            f"{len(long):,} of {len(sizes):,} documents are longer than the {most:,} tokens that "
            f"fit ({numbered(long.tolist(), 'document')}; the longest has {sizes.max():,}). "
            "Choose a longer context, or longer='cut', 'start' or 'leave_out'."
        )
    taken = sizes
    if longer == "start":
        taken = np.minimum(sizes, most)
    elif longer == "leave_out":
        taken = np.where(sizes > most, 0, sizes)
    lost = int(sizes.sum() - taken.sum())
    parts = np.maximum(-(-taken // most), least)
    if longer == "leave_out":
        parts[long] = 0
    document = np.repeat(np.arange(len(sizes), dtype=SMALL), parts)
    start = _ranks(document) * SMALL(most)
    stop = np.minimum(start + SMALL(most), taken.astype(SMALL)[document])
    framed = stop - start + SMALL(frame.size)
    row = place(framed)
    order = np.argsort(row, kind="stable").astype(SMALL)
    row, framed = row[order], framed[order]
    segment = _ranks(row)
    before = np.cumsum(framed) - framed  # of all rows
    first = np.flatnonzero(segment == 0)
    at = (before - np.repeat(before[first], np.diff(np.append(first, len(row))))).astype(SMALL)
    del before, framed
    ones = np.ones(len(row), FLAG)
    return Plan(
        capacity,
        int(row[-1]) + 1 if len(row) else 0,
        len(sizes),
        document[order],
        start[order],
        stop[order],
        ones * FLAG(frame.before is not None),
        ones * FLAG(frame.after is not None),
        row,
        at,
        segment + SMALL(1),
        cut=int((parts > 1).sum()),
        lost=lost,
    )


def _ranks(grouped: Array) -> Array:
    """0, 1, 2, ... within each run of equal values."""
    if not len(grouped):
        return np.zeros(0, SMALL)
    first = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])).astype(SMALL)
    runs = np.diff(np.append(first, SMALL(len(grouped))))
    return np.arange(len(grouped), dtype=SMALL) - np.repeat(first, runs)


def _lengths(lengths: Array | Sequence[int]) -> Array:
    sizes = np.asarray(lengths, np.int64)
    if sizes.ndim != 1 or (sizes < 0).any() or (sizes >= 2**31).any():
        raise DataError("Packer.plan needs one length, from 0 to 2^31 - 1, for each document.")
    return sizes


def _check_capacity(capacity: int, frame: Frame) -> None:
    if capacity <= frame.size:
        raise DataError(
            f"A row of {capacity} tokens has no room beside {frame.size} special tokens. "
            f"Give at least {frame.size + 1}."
        )


def _check_longer(packer: Packer, longer: str) -> None:
    if longer not in ("cut", "start", "leave_out", "refuse"):
        raise ValueError(
            f"{type(packer).__name__}.longer is cut, start, leave_out or refuse; got {longer!r}."
        )
