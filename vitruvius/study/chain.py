"""The chain that the rows of a journal form, so that none of them can change unnoticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

GENESIS = hashlib.sha256(b"vitruvius journal 1").hexdigest()
"""Stands for the checksum before the first event; changes with the format of rows."""

Row = tuple[int, str, int, str, str]
"""(sequence, kind, trial, body as JSON text, checksum)."""


class JournalError(Exception):
    """The journal cannot be read or written. One line: what, where, how to mend."""


class Damaged(Exception):
    """The journal is not what was written. ``intact`` events from the first on are, if known."""

    def __init__(self, how: str, intact: int | None = None) -> None:
        super().__init__(how)
        self.intact = intact


def checksum(previous: str, sequence: int, kind: str, trial: int, body: str) -> str:
    """sha256 of a row's content and of the checksum of the row before it, in hexadecimal."""
    content = json.dumps([previous, sequence, kind, trial, body])
    return hashlib.sha256(content.encode()).hexdigest()


def verified(rows: Iterable[Any], start: int = 0, previous: str = GENESIS) -> Iterator[Row]:
    """The rows after number ``start``, as long as they are the chain. Raises Damaged."""
    for expected, row in enumerate(rows, start + 1):
        sequence, kind, trial, body, written = row
        types = (type(sequence), type(kind), type(trial), type(body), type(written))
        if types != (int, str, int, str, str):
            raise Damaged(f"event {expected} is not readable", expected - 1)
        if sequence != expected:
            raise Damaged(f"event {expected} is missing, {sequence} is there", expected - 1)
        if checksum(previous, sequence, kind, trial, body) != written:
            raise Damaged(f"event {expected} does not fit its checksum", expected - 1)
        previous = written
        yield (sequence, kind, trial, body, written)
