"""A journal as an SQLite file: making it, opening it, and noticing what is not right with it.

Every append is followed by a checkpoint, so that an event is in the file and not in the log beside
it ("-wal") for longer than a millisecond: a log that is lost or damaged then takes nothing along.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import QueuePool

from vitruvius.study.chain import Damaged, JournalError, Row

PAGE = 4096  # bytes
PATIENCE_SECONDS = 30.0
"""How long a transaction waits for other writers."""

TABLE = """
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    trial INTEGER NOT NULL,
    body TEXT NOT NULL,
    checksum TEXT NOT NULL
)"""
"""AUTOINCREMENT makes SQLite note the highest number elsewhere: a second witness of the end."""

WRITES = "vitruvius_writes"
"""The execution option of a connection that is going to write."""


def logs(path: Path) -> tuple[Path, Path]:
    """The files that SQLite keeps beside a database in use."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def create_file(path: Path, rows: Iterable[Row] = ()) -> None:
    """A new journal file that holds these rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(TABLE)
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    finally:
        connection.close()


def create_if_missing(path: Path) -> None:
    """An empty journal, made beside and linked in place: no reader ever sees half of one."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        create_file(new)
        with contextlib.suppress(FileExistsError):  # another worker was first
            os.link(new, path)
    except (OSError, sqlite3.Error) as error:
        why = " ".join(str(error).split())
        if not path.parent.is_dir():
            why = "there is no such folder"
        raise JournalError(
            f"{path}: the journal cannot be created ({why}). "
            "Choose a folder that exists, can be written and has space."
        ) from error
    finally:
        for left in (new, *logs(new)):
            with contextlib.suppress(OSError):
                left.unlink()


def open_file(path: Path, read_only: bool) -> Engine:
    """An engine on an existing file. Raises Damaged where file or log are seen not to be whole."""
    if not path.is_file():
        raise JournalError(
            f"{path}: there is no journal. Name the folder of a study, "
            f"or start one: vitruvius search SPACE --out {path.parent}"
        )
    if path.stat().st_size == 0:
        raise Damaged("it is empty", 0)
    try:
        _check_log(logs(path)[0])
    except OSError as error:
        raise JournalError(f"{path} cannot be read ({error.strerror}).") from error
    if not read_only:
        return _engine(path, "mode=rw")
    return _engine(path, "mode=ro&immutable=1" if _frozen(path) else "mode=ro")


def check_file(connection: Connection, last: int) -> None:
    """Compare what was read, up to event ``last``, with all that the file says elsewhere."""
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        raise Damaged(f"its pages do not fit together ({' '.join(str(found).split())})", last)
    noted = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    highest = noted.scalar() or 0
    if highest != last:
        raise Damaged(f"it ends with event {last}, and once held {highest}", last)


def last_in_file(path: Path) -> int:
    """The highest number in the file without its log; 0 where that cannot be read.

    Only what was committed comes into the file. So if it holds more than SQLite reads, the log
    that lies over it is damaged.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute("SELECT max(sequence) FROM events").fetchone()[0] or 0
    except (
        sqlite3.Error,
        UnicodeDecodeError,
    ):  # such as while another worker writes the page at hand
        return 0


def _frozen(path: Path) -> bool:
    """Whether nothing can have changed since the file was closed, nor a log be opened beside it."""
    log = logs(path)[0]
    return not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)


def _engine(path: Path, mode: str) -> Engine:
    address = f"file:{quote(str(path.absolute()))}?{mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, timeout=PATIENCE_SECONDS, check_same_thread=False
        )
        connection.isolation_level = None  # transactions begin where we say so
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 1")
        return connection

    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _check_log(log: Path) -> None:
    """Raise Damaged where SQLite would silently drop the rest of the log from some page on.

    A page with a wrong checksum is what a kill in the middle of a write leaves, so SQLite takes it
    for the end. It is damage where a later page of the same run is the last of a transaction.
    """
    seen: bytes | None = None
    while log.is_file():
        content = log.read_bytes()
        if _log_is_whole(content):
            return
        if content == seen:  # not a worker that was just writing
            raise Damaged(f"{log.name} is damaged")
        seen = content


def _log_is_whole(content: bytes) -> bool:
    if len(content) < 32 or not any(content[:32]):
        return True
    magic, size = int.from_bytes(content[:4], "big"), int.from_bytes(content[8:12], "big")
    order = "big" if magic & 1 else "little"
    sums = _sums(content[:24], (0, 0), order)
    if magic & ~1 != 0x377F0682 or size != PAGE or sums != _pair(content[24:32]):
        return False
    whole = True
    for at in range(32, len(content) - 24 - PAGE + 1, 24 + PAGE):
        head, page = content[at : at + 24], content[at + 24 : at + 24 + PAGE]
        same_run = head[8:16] == content[16:24]
        if whole:
            sums = _sums(page, _sums(head[:8], sums, order), order)
            whole = same_run and sums == _pair(head[16:24])
        elif same_run and any(head[4:8]):
            return False
    return True


def _pair(content: bytes) -> tuple[int, int]:
    return int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")


def _sums(
    content: bytes, sums: tuple[int, int], order: Literal["little", "big"]
) -> tuple[int, int]:
    """SQLite's checksum of the log (fileformat2.html, section 4.2)."""
    first, second = sums
    for at in range(0, len(content), 8):
        first = (first + int.from_bytes(content[at : at + 4], order) + second) & 0xFFFFFFFF
        second = (second + int.from_bytes(content[at + 4 : at + 8], order) + first) & 0xFFFFFFFF
    return first, second
