"""Rows of a packing plan as arrays: (tokens, positions, segments), words and specials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import SPECIALS, Array
from vitruvius.data.packing import Frame, Plan
from vitruvius.data.tokens import Tokens

PAD = SPECIALS.index("<pad>")


@dataclass(frozen=True, eq=False)
class Filled:
    """Some rows, int64 [B T] each."""

    ids: Array
    positions: Array
    """From 0 in each segment."""
    segments: Array
    """0 is padding; from 1 in each row."""
    fixed: Array
    """bool [B T]: tokens of the frame."""
    words: Array | None
    """Numbered through a row; -1 at padding and specials."""
    documents: Array
    """[B S]: the document of each part of a row, in order; -1 where a row has fewer."""


def fill(plan: Plan, tokens: Tokens, rows: Array, frame: Frame, width: int | None = None) -> Filled:
    """These rows of a plan that was made of ``tokens.lengths`` with this frame.

    ``width`` None: that of the longest of these rows.
    """
    bounds = plan.bounds
    counts = bounds[rows + 1] - bounds[rows]
    parts = np.repeat(bounds[rows], counts) + _counting(counts)
    local = np.repeat(np.arange(len(rows)), counts)
    length = plan.lengths[parts]
    needed = int(np.bincount(local, length, len(rows)).max()) if len(rows) else 0
    width = needed if width is None else width
    if width < needed:
        raise ValueError(f"fill needs a width of at least {needed} for these rows; got {width}.")
    size = (len(rows), width)
    ids, segments = np.full(size, PAD, np.int64), np.zeros(size, np.int64)
    positions, fixed = np.zeros(size, np.int64), np.zeros(size, bool)

    begin = local * width + plan.at[parts]
    slots = np.repeat(begin, length) + _counting(length)
    segments.reshape(-1)[slots] = np.repeat(plan.segment[parts], length)
    base = plan.at[parts] - _first_place(local, plan.segment[parts], plan.at[parts])
    positions.reshape(-1)[slots] = np.repeat(base, length) + _counting(length)

    content = plan.stop[parts] - plan.start[parts]
    inner = np.repeat(begin + plan.before[parts], content) + _counting(content)
    source = tokens.starts[plan.document[parts]] + plan.start[parts]
    places = np.repeat(source, content) + _counting(content)
    ids.reshape(-1)[inner] = tokens.ids.gather(places)
    for token, has, at in (
        (frame.before, plan.before[parts], begin),
        (frame.after, plan.after[parts], begin + length - 1),
    ):
        if token is not None:
            ids.reshape(-1)[at[has == 1]] = token
            fixed.reshape(-1)[at[has == 1]] = True

    words = None
    if tokens.begins is not None:
        flags = tokens.begins.gather(places).astype(np.int64)
        flags[(np.cumsum(content) - content)[content > 0]] = 1
        words = np.full(size, -1, np.int64)
        words.reshape(-1)[inner] = _within(np.cumsum(flags) - 1, np.repeat(local, content))

    documents = np.full((len(rows), int(counts.max()) if len(rows) else 0), -1, np.int64)
    documents[local, _counting(counts)] = plan.document[parts]
    return Filled(ids, positions, segments, fixed, words, documents)


def _counting(lengths: Array) -> Array:
    """0, 1, ..., n - 1 for each length n, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _first_place(row: Array, segment: Array, at: Array) -> Array:
    """Where the segment of each part begins."""
    if not len(row):
        return at
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (segment[1:] != segment[:-1])
    return at[np.maximum.accumulate(np.where(new, np.arange(len(row)), 0))]


def _within(numbers: Array, row: Array) -> Array:
    """Numbers counted from the first of each row."""
    if not len(row):
        return numbers
    new = np.ones(len(row), bool)
    new[1:] = row[1:] != row[:-1]
    return numbers - numbers[np.maximum.accumulate(np.where(new, np.arange(len(row)), 0))]
