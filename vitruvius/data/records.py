"""Rows of JSON lines, CSV and Parquet as texts with what is known of them, one at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from vitruvius.data.delimited import delimiter_of
from vitruvius.data.encodings import NotText, blocks, readable
from vitruvius.data.errors import DataError, did_you_mean
from vitruvius.data.tally import Tally

TEXT_NAMES = (
    "text", "content", "body", "document", "sentence", "abstract", "article", "passage", "review",
    "code", "description", "gloss",
)  # fmt: skip
TIME_NAMES = ("time", "date", "timestamp", "datetime", "published", "created", "created_at", "year")
TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
PEEKED = 100
LEAST_LENGTH = 20.0  # characters on average: a column of shorter cells is no text, unless named
LONGEST_CELL = 2**31 - 1


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
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in TABLES else ""


def records(
    path: Path, where: str, wanted: Wanted, tally: Tally, encoding: str | None
) -> Iterator[Record]:
    """The rows of a table of texts. Raises NotText where it has no column of text."""
    kind = kind_of(path)
    if kind == ".parquet":
        rows = _parquet(path, wanted)
    elif kind in (".jsonl", ".ndjson"):
        rows = _json_lines(path, where, tally, encoding)
    else:
        rows = _csv(path, where, wanted, tally, encoding)
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


def _json_lines(
    path: Path, where: str, tally: Tally, encoding: str | None
) -> Iterator[dict[str, Any]]:
    good = 0
    for number, line in enumerate(readable(blocks(path, tally, where, encoding)), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            good += 1
            yield row
            continue
        tally.add("line", f"{where}, line {number}")
        if number == PEEKED and not good:
            break
    if not good and tally.counts["line"]:
        raise DataError(
            f"{where} holds no JSON objects, one on each line ({tally.first['line']}). "
            'Write one object for each text, like {"text": "..."}, each on its own line.'
        )


def _csv(
    path: Path, where: str, wanted: Wanted, tally: Tally, encoding: str | None
) -> Iterator[dict[str, Any]]:
    texts = blocks(path, tally, where, encoding)
    first = next(texts, "")
    delimiter = delimiter_of(first, path) if first.strip() else ","
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.reader(readable(chain([first], texts)), delimiter=delimiter)
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            raise DataError(f"{where} has two columns of one name in its first line. Rename one.")
        for row in reader:
            if len(row) == len(names):
                yield dict(zip(names, row, strict=True))
            elif row:
                tally.add("cells", f"{where}, line {reader.line_num}")
    except csv.Error as e:
        raise DataError(f"{where} cannot be parsed as CSV: {e}. Save it again.") from e
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, wanted: Wanted) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [
                field.name
                for field in file.schema_arrow
                if pa.types.is_string(field.type)
                or pa.types.is_large_string(field.type)
                or field.name in wanted.named
                or field.name.lower() in TIME_NAMES
            ]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as e:
        raise NotText("parquet") from e
