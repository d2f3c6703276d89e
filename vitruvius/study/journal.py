"""The journal: an append-only list of events, from which everything about a study is read.

One table of one database: an SQLite file by default, PostgreSQL by URL. Each row carries
sha256(checksum of the row before, content), and every read verifies the chain, so what is read is
what was written, or JournalError is raised. docs/decisions/0002-journal.md says what can be
noticed and what cannot.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Text, select
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from vitruvius.search.history import Event
from vitruvius.study.chain import GENESIS, Damaged, JournalError, Row, checksum, verified
from vitruvius.study.salvage import Repaired, replace_damaged, salvage
from vitruvius.study.sqlite_file import (
    PATIENCE_SECONDS,
    WRITES,
    check_file,
    create_if_missing,
    last_in_file,
    open_file,
)

__all__ = ["Event", "Grown", "Journal", "JournalError", "Repaired"]

_METADATA = MetaData()
EVENTS = Table(
    "events",
    _METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("trial", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("checksum", Text, nullable=False),
)


class Grown(Exception):
    """The journal has grown since event ``after``: read what is new, and ask again."""

    def __init__(self, after: int, last: int) -> None:
        super().__init__(f"The journal has grown from event {after} to event {last}.")
        self.after = after
        self.last = last


class Journal:
    """The events of one study, in a file (a path) or a database (a URL).

    A missing file is created, unless ``create`` is false or it is opened ``read_only``. Many
    threads, processes and machines may use one journal; a forked process opens its own. An append
    is one durable transaction; ``read(since)`` parses only what is newer.
    """

    def __init__(
        self,
        where: str | os.PathLike[str],
        *,
        read_only: bool = False,
        create: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = _path(where)
        self.name = str(self.path)
        self.read_only = read_only
        self._clock = clock
        self._lock = threading.Lock()
        self._head = (0, GENESIS)  # number and checksum of the last event that was verified
        self._engine: Engine | None = None
        try:
            with self._clear_errors():
                self._open(os.fspath(where), create and not read_only)
        except BaseException:
            self.close()
            raise

    def append(
        self, kind: str, trial: int, body: Mapping[str, Any], after: int | None = None
    ) -> Event:
        """Write one event durably, and return it as a later ``read`` will.

        Its body gets "at", the time in Unix seconds. Where ``after`` is given and is not the last
        number, nothing is written and Grown is raised.
        """
        if self.read_only:
            raise JournalError(f"{self.name} was opened read-only: events cannot be appended.")
        text = _text(kind, {**body, "at": round(self._clock(), 3)})
        while True:
            last = self.last
            try:
                with self._clear_errors():
                    return _event(self._append(kind, trial, text, after))
            except IntegrityError:  # another machine was first to write this number
                if after is not None:
                    raise Grown(after, after + 1) from None
                self.read(last)

    def read(self, since: int = 0) -> list[Event]:
        """The events after number ``since``, verified."""
        with self._clear_errors(), self._lock, self._transaction() as connection:
            return [_event(row) for row in self._new(connection, since)]

    @property
    def last(self) -> int:
        """The number of the last event that this journal has seen."""
        return self._head[0]

    def close(self) -> None:
        """Let go of the file or the database."""
        if self._engine is not None:
            self._engine.dispose()

    @staticmethod
    def repair(path: str | os.PathLike[str]) -> Repaired:
        """Keep the longest intact run of events from the first on, and the damaged file beside.

        An intact journal is left as it is. End the workers of the study first.
        """
        path = Path(path)
        try:
            with Journal(path, create=False) as journal:
                return Repaired(journal.last, None)
        except JournalError as error:
            if not isinstance(error.__cause__, Damaged):
                raise
        return replace_damaged(path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, where: str, create: bool) -> None:
        if self.path is None:
            self.name, self._engine = _open_database(where, create)
            self.read()
            return
        if create:
            create_if_missing(self.path)
        # Looked at read-only first: a writer that closes takes its log into the file, and a damaged
        # log must not get there.
        self._engine = open_file(self.path, read_only=True)
        with self._lock, self._transaction() as connection:
            self._new(connection, 0)
            check_file(connection, self.last)
        beneath = last_in_file(self.path)
        if beneath > self.last:
            self.read(self.last)  # perhaps another worker's, written since
        if beneath > self.last:
            raise Damaged(f"its log hides the events up to {beneath}", self.last)
        if not self.read_only:
            self._engine.dispose()
            self._engine = open_file(self.path, read_only=False)
            self.read(self.last)

    def _append(self, kind: str, trial: int, text: str, after: int | None) -> Row:
        with self._lock:
            with self._transaction(writes=True) as connection:
                self._new(connection, self.last)
                last, previous = self._head
                if after is not None and after != last:
                    raise Grown(after, last)
                content = (last + 1, kind, trial, text)
                row = (*content, checksum(previous, *content))
                connection.execute(EVENTS.insert().values(row))
            self._head = (row[0], row[4])
            return row

    @contextlib.contextmanager
    def _transaction(self, writes: bool = False) -> Iterator[Connection]:
        assert self._engine is not None
        with self._engine.connect() as connection:
            connection = connection.execution_options(**{WRITES: writes})
            with connection.begin():
                yield connection

    def _new(self, connection: Connection, since: int) -> list[Row]:
        """Rows after ``since``, verified through to the end, which becomes the head."""
        head = self._head
        start = min(since, head[0])
        query = select(EVENTS).where(EVENTS.c.sequence >= start).order_by(EVENTS.c.sequence)
        rows = iter(connection.execute(query))
        last = (0, GENESIS)
        if start > 0:
            first = next(rows, None)
            if first is None or first.sequence != start:
                raise Damaged(f"event {start} is gone")
            last = (start, first.checksum)
        found: list[Row] = []
        agrees = last == head
        for row in verified(rows, *last):
            last = (row[0], row[4])
            agrees = agrees or last == head
            if row[0] > since:
                found.append(row)
        if not agrees:
            raise Damaged(f"event {head[0]} is gone or has changed since it was read")
        self._head = last
        return found

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Whatever goes wrong with the database becomes one line that says how to mend it."""
        try:
            yield
        except IntegrityError as error:
            if self.path is None:
                raise
            damage = Damaged(_line(error.orig))  # a file's writers wait for each other
            raise JournalError(self._damage(damage)) from damage
        except Damaged as error:
            self.close()
            raise JournalError(self._damage(error)) from error
        except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message
            self.close()
            damage = Damaged(f"its schema is no text ({error.reason})")
            raise JournalError(self._damage(damage)) from damage
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            if self.path is None or not isinstance(cause, sqlite3.Error):
                raise JournalError(f"{self.name}: {_line(cause)}") from error
            if (known := _known(cause)) is not None:
                raise JournalError(f"{self.name} {known}") from error
            self.close()
            damage = Damaged(f"SQLite says {_line(cause)}")
            raise JournalError(self._damage(damage)) from damage

    def _damage(self, damage: Damaged) -> str:
        said = f"{self.name} is damaged: {damage}"
        if self.path is None:
            return f"{said}. Restore the database from a backup."
        try:
            intact = len(salvage(self.path))
        except OSError:
            intact = damage.intact or 0
        if intact == 0:
            return f"{said}; no event is intact. Restore the file from a backup, or start anew."
        return (
            f"{said}; events 1 to {intact} are intact. To keep them (and a backup beside): "
            f"vitruvius resume {self.path.parent} --repair"
        )


def _path(where: str | os.PathLike[str]) -> Path | None:
    """The file that is meant; None where it is a database's URL."""
    text = os.fspath(where)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///"))
    return None if "://" in text else Path(text)


def _text(kind: str, body: Mapping[str, Any]) -> str:
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The body of an event {kind!r} must be JSON without NaN or infinity ({error}). "
            "Write None for a number that is not known."
        ) from None


def _event(row: Row) -> Event:
    return Event(row[0], row[1], row[2], json.loads(row[3]))


def _line(error: object) -> str:
    return " ".join(str(error).split())


def _known(error: sqlite3.Error) -> str | None:
    """What to do about an error of SQLite that is no damage of the file."""
    code = (getattr(error, "sqlite_errorname", None) or "").removeprefix("SQLITE_")
    if code in ("IOERR_SHORT_READ", "IOERR_CORRUPTFS"):
        return None
    match code.partition("_")[0]:
        case "BUSY" | "LOCKED":
            return (
                f"has been locked by another program for {PATIENCE_SECONDS:g} seconds. "
                "End that program, and resume."
            )
        case "FULL":
            return "cannot grow: the disk is full. What was written stays: make space, and resume."
        case "READONLY" | "PERM" | "AUTH":
            return "cannot be written: it is read-only. Give write permission, and resume."
        case "CANTOPEN":
            return "cannot be opened. Check that it and its folder may be read and written."
        case "IOERR" | "NOMEM" | "PROTOCOL" | "INTERRUPT":
            return (
                f"cannot be read or written ({_line(error)}): the disk is full, over a limit, or "
                "failing. What was written stays: mend that, and resume."
            )
    return None


def _open_database(url: str, create: bool) -> tuple[str, Engine]:
    """A database that many machines reach. One database (or schema) holds one study."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise JournalError(
            f"A journal is a path or a postgresql:// URL; got one that starts with {scheme}://."
        )
    try:
        engine = sqlalchemy.create_engine(f"postgresql+psycopg://{rest}", pool_pre_ping=True)
    except ModuleNotFoundError:
        raise JournalError(
            "A journal in PostgreSQL needs psycopg: pip install 'vitruvius[postgres]'"
        ) from None
    name = engine.url.render_as_string(hide_password=True).replace("+psycopg", "", 1)
    try:
        missing = not sqlalchemy.inspect(engine).has_table("events")
        if missing and create:
            with contextlib.suppress(IntegrityError, ProgrammingError):  # another was first
                _METADATA.create_all(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise JournalError(f"{name}: {_line(getattr(error, 'orig', error))}") from error
    if missing and not create:
        engine.dispose()
        raise JournalError(f"{name}: there is no journal in this database.")
    return name, engine
