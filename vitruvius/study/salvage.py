"""Read what is intact in a damaged journal file, page by page and without SQLite.

Whatever looks like a row is a candidate, be it in the file or in the log beside it (SQLite's
"-wal"); the chain of checksums proves which are the events that were written. Source of the
layout: https://www.sqlite.org/fileformat2.html, sections 1.6, 2.1 and 4.1.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitruvius.study.chain import GENESIS, JournalError, Row, checksum
from vitruvius.study.sqlite_file import PAGE, create_file, logs

LOG_HEADER, FRAME_HEADER = 32, 24  # bytes
LOCAL = PAGE - 35  # most bytes of a row that stay in its leaf page
LEAST = (PAGE - 12) * 32 // 255 - 23  # what stays of a longer one, at least

Pages = dict[int, bytes]


@dataclass(frozen=True)
class Repaired:
    """What became of a damaged journal."""

    kept: int
    """Events in the journal now: the first so many."""
    backup: Path | None
    """The damaged file, as it was; None where nothing had to be mended."""


def salvage(path: Path) -> list[Row]:
    """The longest chain of events from the first on that file and log hold."""
    candidates: dict[int, set[Row]] = {}
    for pages, leaves in _views(path):
        for leaf, number in leaves:
            for row in _rows(leaf, number, pages):
                candidates.setdefault(row[0], set()).add(row)
    found: list[Row] = []
    previous = GENESIS
    while True:
        for row in sorted(candidates.get(len(found) + 1, ())):
            if checksum(previous, *row[:4]) == row[4]:
                found.append(row)
                previous = row[4]
                break
        else:
            return found


def replace_damaged(path: Path) -> Repaired:
    """Put a new file with what is intact in the place of a damaged one, which is kept beside it.

    Killed in between, it leaves the damaged file or the mended one, and the backup.
    """
    rows = salvage(path)
    if not rows:
        raise JournalError(
            f"{path}: not one event is intact, so there is nothing to repair. "
            "Restore the file from a backup, or start the study anew in another folder."
        )
    new = path.with_name(f".{path.name}.{os.getpid()}.mended")
    try:
        create_file(new, rows)
        backup = _free_name(path)
        log = logs(path)[0]
        if log.exists() and log.stat().st_size:
            shutil.copy2(log, logs(backup)[0])
        shutil.copy2(path, backup)
        for old in logs(path):
            old.unlink(missing_ok=True)
        os.replace(new, path)
    except (OSError, sqlite3.Error) as error:
        why = " ".join(str(error).split())
        raise JournalError(
            f"{path}: the repair could not be written ({why}). "
            "The damaged journal is as it was: make space or give permission, and try again."
        ) from error
    finally:
        for left in (new, *logs(new)):
            left.unlink(missing_ok=True)
    return Repaired(len(rows), backup)


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return name


def _views(path: Path) -> Iterator[tuple[Pages, list[tuple[bytes, int]]]]:
    """The pages of the file alone, and those of the file with the log laid over it."""
    content = path.read_bytes()
    content += bytes(-len(content) % PAGE)
    pages = {i // PAGE + 1: content[i : i + PAGE] for i in range(0, len(content), PAGE)}
    yield pages, [(page, number) for number, page in pages.items()]
    log = logs(path)[0]
    if not log.exists():
        return
    content = log.read_bytes()
    laid_over, frames = dict(pages), []
    for at in range(LOG_HEADER, len(content), FRAME_HEADER + PAGE):
        number = int.from_bytes(content[at : at + 4], "big")
        page = content[at + FRAME_HEADER : at + FRAME_HEADER + PAGE].ljust(PAGE, b"\0")
        laid_over[number] = page
        frames.append((page, number))
    yield laid_over, frames


def _rows(page: bytes, number: int, pages: Mapping[int, bytes]) -> Iterator[Row]:
    """Everything on a page that can be read as a row of a leaf, whatever its header says."""
    pointer, end = (108 if number == 1 else 8), PAGE
    while pointer + 2 <= end:
        at = int.from_bytes(page[pointer : pointer + 2], "big")
        pointer += 2
        if pointer <= at < PAGE:
            end = min(end, at)
            try:
                yield _row(page, at, pages)
            except (ValueError, IndexError, KeyError, OverflowError):
                continue


def _row(page: bytes, at: int, pages: Mapping[int, bytes]) -> Row:
    size, at = _varint(page, at)
    sequence, at = _varint(page, at)
    if size > PAGE * len(pages):
        raise ValueError("longer than the file")
    if size <= LOCAL:
        content = page[at : at + size]
    else:
        kept = LEAST + (size - LEAST) % (PAGE - 4)
        kept = kept if kept <= LOCAL else LEAST
        parts, left = [page[at : at + kept]], size - kept
        following = int.from_bytes(page[at + kept : at + kept + 4], "big")
        while left > 0:
            overflow = pages[following]
            parts.append(overflow[4 : 4 + left])
            left -= PAGE - 4
            following = int.from_bytes(overflow[:4], "big")
        content = b"".join(parts)
    header_size, at = _varint(content, 0)
    kinds: list[int] = []
    while at < header_size:
        kind, at = _varint(content, at)
        kinds.append(kind)
    if len(kinds) != 5 or kinds[0] != 0:  # the number of a row is not in its content
        raise ValueError("another table's row")
    values: list[int | str] = []
    for kind in kinds[1:]:
        value, at = _value(content, at, kind)
        values.append(value)
    name, trial, body, written = values
    if not (
        isinstance(name, str)
        and isinstance(trial, int)
        and isinstance(body, str)
        and isinstance(written, str)
    ):
        raise ValueError("another table's row")
    return sequence, name, trial, body, written


def _value(content: bytes, at: int, kind: int) -> tuple[int | str, int]:
    if kind in (8, 9):
        return kind - 8, at
    if 1 <= kind <= 6:
        end = at + (1, 2, 3, 4, 6, 8)[kind - 1]
        return int.from_bytes(content[at:end], "big", signed=True), end
    if kind >= 13 and kind % 2:
        end = at + (kind - 13) // 2
        if end > len(content):
            raise ValueError("cut off")
        return content[at:end].decode(), end
    raise ValueError("neither a whole number nor text")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        byte = content[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | content[at + 8], at + 9
