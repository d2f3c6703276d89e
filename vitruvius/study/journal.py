"""The journal: an append-only list of events, from which everything about a study is read.

One table of one database: an SQLite file by default, PostgreSQL by URL. Each row carries
sha256(checksum of the row before, content), and every read verifies the chain, so what is read is
what was written, or JournalError. docs/decisions/0002-journal.md says what can be noticed and what
cannot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Text, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from vitruvius.search.history import Event

GENESIS = hashlib.sha256(b"vitruvius journal 1").hexdigest()
"""Stands for the checksum before the first event; changes with the format of rows."""

PATIENCE_SECONDS = 30.0
"""How long an append waits for other writers."""

_METADATA = MetaData()
EVENTS = Table(
    "events",
    _METADATA,
    Column("sequence", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("trial", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    sqlite_autoincrement=True,  # SQLite then notes the highest number elsewhere: a second witness
)

Row = tuple[int, str, int, str, str]
"""(sequence, kind, trial, body as JSON text, checksum)."""


class JournalError(Exception):
    """The journal cannot be read or written. One line: what, where, how to mend."""


class Grown(Exception):
    """The journal has grown since ``after``: read what is new, and ask again."""

    def __init__(self, after: int, last: int) -> None:
        super().__init__(f"The journal has grown from event {after} to event {last}.")
        self.after = after
        self.last = last


class Damaged(Exception):
    """Event ``sequence`` is not what was written. The ones before it are."""

    def __init__(self, sequence: int, how: str) -> None:
        super().__init__(how)
        self.sequence = sequence


class Journal:
    """The events of one study, in a file (a path) or a database (a URL).

    A missing file is created, unless ``create`` is false or it is opened ``read_only``. Safe for
    many threads, processes and machines at once; a forked process opens its own. ``append`` costs
    one durable transaction, a few milliseconds; ``read(since)`` parses only what is newer.
    """

    def __init__(
        self,
        where: str | os.PathLike[str],
        *,
        read_only: bool = False,
        create: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path_of(where)
        self.read_only = read_only
        self._clock = clock
        self._lock = threading.Lock()
        self._head = (0, GENESIS)  # the last event that was verified
        if self.path is None:
            self.name, self._engine = _open_database(str(where), create and not read_only)
        else:
            self.name = str(self.path)
            if create and not read_only:
                _create(self.path)
            self._engine = _open_file(self.path, read_only)
        try:
            with self._begin() as connection:
                if self.path is not None:
                    _check_pages(connection)
                self._new(connection, 0)
        except BaseException:
            self._engine.dispose()
            raise

    def append(
        self, kind: str, trial: int, body: Mapping[str, Any], after: int | None = None
    ) -> Event:
        """Write one event durably, and return it as a later ``read`` will.

        Its body gets "at", the time in Unix seconds. Where ``after`` is given and is not the last
        sequence number, nothing is written and Grown is raised.
        """
        if self.read_only:
            raise JournalError(f"{self.name} was opened read-only; events cannot be appended.")
        text = _text(kind, {**body, "at": round(self._clock(), 3)})
        while True:
            try:
                with self._begin(write=True) as connection:
                    self._new(connection, self._head[0])
                    last, previous = self._head
                    if after is not None and after != last:
                        raise Grown(after, last)
                    content = (last + 1, kind, trial, text)
                    row = (*content, checksum(previous, *content))
                    connection.execute(EVENTS.insert().values(row))
            except IntegrityError:  # another machine wrote this number first
                if after is not None:
                    raise Grown(after, after + 1) from None
                continue
            return _event(row)

    def read(self, since: int = 0) -> list[Event]:
        """The events after number ``since``, verified."""
        with self._begin() as connection:
            return [_event(row) for row in self._new(connection, since)]

    @property
    def last(self) -> int:
        """The number of the last event that this journal has seen."""
        return self._head[0]

    def close(self) -> None:
        """Let go of the file or the database. The last one to close tidies the file's log away."""
        self._engine.dispose()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new(self, connection: Connection, since: int) -> list[Row]:
        """Rows after ``since``, verified through to the end. Moves the head."""
        head, head_checksum = self._head
        start = min(since, head)
        query = select(EVENTS).where(EVENTS.c.sequence >= start).order_by(EVENTS.c.sequence)
        rows = iter(connection.execute(query))
        previous = GENESIS
        if start > 0:
            anchor = next(rows, None)
            if anchor is None or anchor.sequence != start:
                raise Damaged(start, "it is gone")
            previous = anchor.checksum
            if start == head and previous != head_checksum:
                raise Damaged(start, "it has changed since it was read")
        found: list[Row] = []
        last = (start, previous)
        for row in verified(rows, start, previous):
            last = (row[0], row[4])
            if row[0] == head and row[4] != head_checksum:
                raise Damaged(head, "it has changed since it was read")
            if row[0] > since:
                found.append(row)
        if last[0] < head:
            raise Damaged(last[0] + 1, "it is gone")
        self._head = last
        return found

    @contextlib.contextmanager
    def _begin(self, write: bool = False) -> Iterator[Connection]:
        """A transaction whose errors are JournalErrors."""
        with self._lock:
            before = self._head
            try:
                with self._engine.connect() as connection:
                    connection = connection.execution_options(vitruvius_write=write)
                    with connection.begin():
                        yield connection
            except IntegrityError:
                self._head = before
                raise
            except Damaged as error:
                raise JournalError(self._damage(error.sequence, str(error))) from error
            except SQLAlchemyError as error:
                raise JournalError(self._failure(error)) from error

    def _damage(self, sequence: int, how: str) -> str:
        intact = "none before it" if sequence <= 1 else f"events 1 to {sequence - 1} are intact"
        return f"{self.name} is damaged: event {sequence}: {how}; {intact}. {self._mend()}"

    def _mend(self) -> str:
        if self.path is None:
            return "Restore the database from a backup."
        return (
            f"To keep what is intact (and a backup beside it): "
            f"vitruvius resume {self.path.parent} --repair"
        )

    def _failure(self, error: SQLAlchemyError) -> str:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if self.path is None or not isinstance(cause, sqlite3.Error):
            return f"{self.name}: {_line(cause or error)}"
        code = (getattr(cause, "sqlite_errorname", None) or "").removeprefix("SQLITE_")
        text = _line(cause)
        if code.startswith(("BUSY", "LOCKED")):
            return (
                f"{self.name} has been locked by another program for {PATIENCE_SECONDS:g} seconds. "
                "End that program, or wait for it, and resume."
            )
        if code.startswith("FULL"):
            return f"{self.name} cannot grow: the disk is full. Free some space and resume."
        if code.startswith(("READONLY", "PERM", "AUTH")):
            return f"{self.name} cannot be written (read-only). Give write permission and resume."
        if code.startswith("IOERR"):
            return (
                f"{self.name}: the disk refused ({text}): full, over a limit, or failing. "
                "Mend that and resume; what was written stays."
            )
        if code.startswith("CANTOPEN"):
            return f"{self.name} cannot be opened. Check that the file and its folder can be read."
        if code.startswith("INTERRUPT"):
            return f"{self.name}: interrupted."
        return f"{self.name} is damaged ({text}). {self._mend()}"


def path_of(where: str | os.PathLike[str]) -> Path | None:
    """The file that is meant; None where it is a database's URL."""
    text = os.fspath(where)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///"))
    return None if "://" in text else Path(text)


def checksum(previous: str, sequence: int, kind: str, trial: int, body: str) -> str:
    """sha256 of a row's content and the checksum of the row before it, in hexadecimal."""
    content = json.dumps([previous, sequence, kind, trial, body])
    return hashlib.sha256(content.encode()).hexdigest()


def verified(rows: Iterable[Any], start: int = 0, previous: str = GENESIS) -> Iterator[Row]:
    """The rows after number ``start``, as long as they are the chain. Raises Damaged."""
    for expected, row in enumerate(rows, start + 1):
        sequence, kind, trial, body, written = row
        types = (type(sequence), type(kind), type(trial), type(body), type(written))
        if types != (int, str, int, str, str):
            raise Damaged(expected, "it is not readable")
        if sequence != expected:
            raise Damaged(expected, f"it is missing (the next one is number {sequence})")
        if checksum(previous, sequence, kind, trial, body) != written:
            raise Damaged(expected, "its checksum does not fit its content")
        previous = written
        yield (sequence, kind, trial, body, written)


def _event(row: Row) -> Event:
    return Event(row[0], row[1], row[2], json.loads(row[3]))


def _text(kind: str, body: Mapping[str, Any]) -> str:
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The body of an event {kind!r} must be JSON without NaN or infinity ({error}). "
            "Write None for a number that is not known."
        ) from None


def _line(error: object) -> str:
    return " ".join(str(error).split())


# -------------------------------------------------------------------- SQLite


def _create(path: Path) -> None:
    """An empty journal, made beside and linked in place: no reader ever sees half of one."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        engine = _engine(new, "rwc")
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA page_size = 4096")
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                _METADATA.create_all(connection)
                connection.commit()
        finally:
            engine.dispose()
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    except (OSError, SQLAlchemyError) as error:
        why = "no such folder" if not path.parent.is_dir() else _line(getattr(error, "orig", error))
        raise JournalError(
            f"{path}: the journal cannot be created ({why}). "
            "Choose a folder that exists, can be written and has space."
        ) from error
    finally:
        for left in (new, *_logs(new)):
            left.unlink(missing_ok=True)


def _logs(path: Path) -> tuple[Path, Path]:
    """The files that SQLite keeps beside a database in use."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _open_file(path: Path, read_only: bool) -> Engine:
    if not path.is_file():
        raise JournalError(
            f"{path}: there is no journal. Name the folder of a study, "
            f"or start one: vitruvius search SPACE --out {path.parent}"
        )
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise JournalError(f"{path} cannot be read ({error.strerror}).") from error
    if start != b"SQLite format 3\0":
        how = "it is empty" if not start else "it does not start as an SQLite database does"
        raise JournalError(
            f"{path} is damaged, or no journal: {how}. To keep what is intact (and a backup beside "
            f"it): vitruvius resume {path.parent} --repair"
        )
    if not read_only:
        return _engine(path, "rw")
    wal, _ = _logs(path)
    written = wal.is_file() and wal.stat().st_size > 0
    frozen = not os.access(path.parent, os.W_OK) and not written
    return _engine(path, "ro&immutable=1" if frozen else "ro")


def _engine(path: Path, mode: str) -> Engine:
    address = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, timeout=PATIENCE_SECONDS, check_same_thread=False
        )
        connection.isolation_level = None  # transactions begin where we say so
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=_POOL)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("vitruvius_write"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif "vitruvius_write" in connection.get_execution_options():
            connection.exec_driver_sql("BEGIN")

    return engine


_POOL = sqlalchemy.pool.QueuePool


def _check_pages(connection: Connection) -> None:
    """Whether the file's pages fit together, as SQLite sees it. 1 ms for each few MB."""
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        raise ProgrammingError("", {}, sqlite3.DatabaseError(_line(found)))


# ---------------------------------------------------------------- PostgreSQL


def _open_database(url: str, create: bool) -> tuple[str, Engine]:
    """A database that many machines reach. One database (or schema) holds one study."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise JournalError(
            f"A journal is a path or a postgresql:// URL; got one that starts with {scheme}://."
        )
    try:
        engine = sqlalchemy.create_engine(f"postgresql+psycopg://{rest}", pool_pre_ping=True)
        name = engine.url.render_as_string(hide_password=True).replace("+psycopg", "", 1)
    except ModuleNotFoundError:
        raise JournalError(
            "A journal in PostgreSQL needs psycopg: pip install 'vitruvius[postgres]'"
        ) from None
    except SQLAlchemyError as error:
        raise JournalError(f"{scheme}://...: not a usable URL ({_line(error)}).") from None
    try:
        if not sqlalchemy.inspect(engine).has_table("events"):
            if not create:
                raise JournalError(f"{name}: there is no journal in this database.")
            with contextlib.suppress(IntegrityError, ProgrammingError):  # another was first
                _METADATA.create_all(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise JournalError(f"{name}: {_line(getattr(error, 'orig', error))}") from error
    return name, engine
