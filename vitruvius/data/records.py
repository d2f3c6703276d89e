"""Rows of JSON lines, CSV and Parquet as texts with what is known of them, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvius.data.encodings import NotText
from vitruvius.data.errors import DataError, did_you_mean
from vitruvius.data.rows import PEEKED, rows_of, suffix_of
from vitruvius.data.tally import Tally

if TYPE_CHECKING:
    import pyarrow

TEXT_NAMES = (
    "text", "content", "body", "document", "sentence", "abstract", "article", "passage", "review",
    "code", "description", "gloss",
)  # fmt: skip
TIME_NAMES = ("time", "date", "timestamp", "datetime", "published", "created", "created_at", "year")
TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
LEAST_LENGTH = 20.0  # characters on average: a column of shorter cells is no text, unless named


@dataclass(frozen=True)
class Wanted:
    """Names of columns, as the user gave them; None: not given."""

    text: str | None = None
    label: str | None = None
    source: str | None = None
    time: str | None = None
    keep: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(n for n in (self.text, self.label, self.source, self.time, *self.keep) if n)


@dataclass(frozen=True, slots=True)
class Record:
    """A text; values are None where they are not known."""

    text: str
    source: str
    label: Any = None
    time: Any = None
    kept: tuple[Any, ...] = ()


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, without .gz; empty for text of any kind."""
    suffix = suffix_of(path)
    return suffix if suffix in TABLES else ""


def records(
    path: Path, where: str, wanted: Wanted, tally: Tally, encoding: str | None
) -> Iterator[Record]:
    """The rows of a table of texts. Raises NotText where it has no column of text."""

    def strings(field: pyarrow.Field) -> bool:
        import pyarrow as pa

        return (
            pa.types.is_string(field.type)
            or pa.types.is_large_string(field.type)
            or field.name in wanted.named
            or field.name.lower() in TIME_NAMES
        )

    rows = rows_of(path, where, tally, encoding, header=True, columns=strings).rows
    first = list(islice(rows, PEEKED))
    if not first:
        yield Record("", where)
        return
    chosen = choose(first, wanted, where)
    for row in chain(first, rows):
        text = row.get(chosen.text or "")
        if not isinstance(text, str):
            tally.add("untexted", where)
            continue
        own = row.get(chosen.source) if chosen.source else None
        yield Record(
            text,
            where if own is None else str(own),
            row.get(chosen.label) if chosen.label else None,
            row.get(chosen.time) if chosen.time else None,
            tuple(row.get(name) for name in chosen.keep),
        )


def choose(rows: Sequence[Mapping[str, Any]], wanted: Wanted, where: str) -> Wanted:
    """Which columns hold what: those named, else told by their names and values."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if absent := [name for name in wanted.named if name not in columns]:
        raise DataError(f"{where} has no column {absent[0]!r}. {did_you_mean(absent[0], columns)}")
    lowered = {name.lower(): name for name in reversed(columns)}
    text = wanted.text or next((lowered[n] for n in TEXT_NAMES if n in lowered), None)
    time = wanted.time or next((lowered[n] for n in TIME_NAMES if n in lowered), None)
    if text is None:
        free = [name for name in columns if name not in wanted.named and name != time]
        lengths = {name: _mean_length([row.get(name) for row in rows]) for name in free}
        text = max(lengths, key=lambda name: lengths[name], default=None)
        if text is None or lengths[text] < LEAST_LENGTH:
            raise NotText("column")
    return Wanted(text, wanted.label, wanted.source, time, wanted.keep)


def _mean_length(values: list[Any]) -> float:
    strings = [v for v in values if isinstance(v, str)]
    return sum(map(len, strings)) / len(values) if strings else 0.0
