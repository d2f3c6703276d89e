"""Rows of a table of texts, one at a time: JSON lines, JSON, CSV, Parquet, lines with a label."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitruvius.data.delimited import delimiter_of, first_rows, has_header
from vitruvius.data.encodings import NotText, blocks, readable
from vitruvius.data.errors import DataError
from vitruvius.data.loaded import part_of
from vitruvius.data.tally import Tally

if TYPE_CHECKING:
    import pyarrow

Row = Mapping[str, Any]
JSON_LINES = (".jsonl", ".ndjson")
DELIMITED = (".csv", ".tsv", ".tab")
TABLES = (*JSON_LINES, *DELIMITED, ".json", ".parquet")
PEEKED = 100
SNIFFED_LINES = 1000
WHOLE = 0.95  # of the lines must have a label and a text
LONGEST_CELL = 2**31 - 1
LONGEST_NAME, MOST_WORDS_OF_A_NAME = 40, 4
LINE = re.compile(r"(\S+)[ \t]+(\S.*)")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as they come, each a mapping from a column's name to its cell."""

    header: bool
    """Whether the file names its columns; else they are called column1, column2, ..."""
    rows: Iterator[Row]


def suffix_of(path: Path) -> str:
    """The suffix in lower case, that before .gz."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def rows_of(
    path: Path,
    where: str,
    tally: Tally,
    encoding: str | None = None,
    *,
    header: bool | None = None,
    known: Sequence[str] = (),
    columns: Callable[[pyarrow.Field], bool] | None = None,
) -> Rows:
    """The rows of a file, told by its suffix; what cannot be read of it is counted.

    ``header`` is of CSV and its like: None finds out, and ``known`` names speak for one.
    ``columns`` says which of Parquet are wanted. Raises NotText where the file is none, here or
    with its rows.
    """
    kind = suffix_of(path)
    if kind == ".parquet":
        return Rows(True, _parquet(path, columns))
    if kind in JSON_LINES:
        return Rows(True, _json_lines(path, where, tally, encoding))
    if kind == ".json":
        return _json(path, where, tally, encoding)
    return _delimited(path, where, tally, encoding, header, known)


def looks_labelled(path: Path) -> Literal["", "lines", "table"]:
    """What the first lines of a text file are: cells between tabs, labels before texts, or neither.

    Labels are few: each comes five times on average.
    """
    try:
        block = next(blocks(path, Tally(), path.name), "")
    except NotText:
        return ""
    lines = [line for line in block.split("\n", SNIFFED_LINES)[:SNIFFED_LINES] if line.strip()]
    widths = {line.count("\t") for line in lines}
    if len(widths) == 1 and widths != {0}:
        return "table"
    found = [one for one in map(LINE.match, map(str.strip, lines)) if one]
    labels = {one[1] for one in found}
    most = min(max(2, len(lines) // 5), len(found) - 1)
    return "lines" if len(found) > WHOLE * len(lines) and len(labels) <= most else ""


def labelled_lines(path: Path, where: str, tally: Tally, encoding: str | None = None) -> Rows:
    """Lines of a label and, after a space or tab, a text: columns "label" and "text"."""

    def read() -> Iterator[Row]:
        for number, line in enumerate(readable(blocks(path, tally, where, encoding)), 1):
            if found := LINE.match(line.strip()):
                yield {"label": found[1], "text": found[2]}
            elif line.strip():
                tally.add("bare", f"{where}, line {number}")

    return Rows(True, read())


def _json_lines(path: Path, where: str, tally: Tally, encoding: str | None) -> Iterator[Row]:
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


def _json(path: Path, where: str, tally: Tally, encoding: str | None) -> Rows:
    """A list of objects or of lists, or an object of such lists, by part of the data or alone."""
    try:
        whole = json.loads("".join(blocks(path, tally, where, encoding)) or "[]")
    except (ValueError, RecursionError) as e:
        raise DataError(f"{where} is no JSON: {e}. Mend it, or write JSON lines (.jsonl).") from e
    lists: dict[str | None, list[Any]] = {}
    if isinstance(whole, list):
        lists[None] = whole
    elif isinstance(whole, dict):
        held = {name: value for name, value in whole.items() if isinstance(value, list)}
        if held and all(part_of(name) is not None for name in held):
            lists.update(held)
        elif len(held) == 1:
            lists[None] = next(iter(held.values()))
    if not lists:
        raise DataError(
            f"{where} holds no list of rows. Write a list of objects, or an object of such lists "
            'called "train", "validation" and "test".'
        )
    first = next((row for held in lists.values() for row in held), None)

    def read() -> Iterator[Row]:
        for part, held in lists.items():
            for number, cells in enumerate(held, 1):
                if not isinstance(cells, (dict, list)):
                    tally.add("line", f"{where}, item {number}")
                    continue
                row = cells if isinstance(cells, dict) else _numbered(cells)
                yield row if part is None else {**row, "split": part}

    return Rows(isinstance(first, dict), read())


def _numbered(cells: Sequence[Any]) -> dict[str, Any]:
    return {f"column{i}": cell for i, cell in enumerate(cells, 1)}


def _delimited(
    path: Path,
    where: str,
    tally: Tally,
    encoding: str | None,
    header: bool | None,
    known: Sequence[str],
) -> Rows:
    texts = blocks(path, tally, where, encoding)
    block = next(texts, "")
    if not block.strip():
        return Rows(True, iter(()))
    delimiter = "\t" if suffix_of(path) == ".txt" else delimiter_of(block, path)
    quoting = csv.QUOTE_NONE if _quotes_are_text(block, delimiter) else csv.QUOTE_MINIMAL
    if header is None:
        header = _names_columns(first_rows(block, delimiter, quoting), known)

    def read() -> Iterator[Row]:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            lines = readable(chain([block], texts))
            reader = csv.reader(lines, delimiter=delimiter, quoting=quoting)
            names: list[str] | None = None
            if header:
                names = [name.strip() for name in next(reader, [])]
                if len(set(names)) < len(names):
                    raise DataError(
                        f"{where} has two columns of one name in its first line. Rename one."
                    )
            else:
                widths = Counter(map(len, first_rows(block, delimiter, quoting)))
                names = list(_numbered(range(widths.most_common(1)[0][0])))
            for row in reader:
                if len(row) == len(names):
                    yield dict(zip(names, row, strict=True))
                elif row:
                    tally.add("cells", f"{where}, line {reader.line_num}")
        except csv.Error as e:
            raise DataError(f"{where} cannot be parsed as CSV: {e}. Save it again.") from e
        finally:
            csv.field_size_limit(before)

    return Rows(header, read())


def _quotes_are_text(block: str, delimiter: str) -> bool:
    """Whether cells between tabs begin with quotes that are a part of them, as in tweets."""
    if delimiter != "\t" or '"' not in block:
        return False
    lines = block.rstrip("\n").split("\n")
    if len({line.count("\t") for line in lines if line}) > 1:
        return False
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        parsed = sum(
            1 for row in csv.reader(io.StringIO(block), delimiter="\t", strict=True) if row
        )
        return parsed != sum(map(bool, lines))
    except csv.Error:
        return True
    finally:
        csv.field_size_limit(before)


def _names_columns(first: list[list[str]], known: Sequence[str]) -> bool:
    """As of any table, and no name is a sentence."""
    cells = [cell.strip() for cell in first[0]] if first else []
    if set(known) & set(cells):
        return True
    short = all(
        len(cell) <= LONGEST_NAME and len(cell.split()) <= MOST_WORDS_OF_A_NAME for cell in cells
    )
    return short and has_header(first, ())


def _parquet(path: Path, wanted: Callable[[pyarrow.Field], bool] | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [f.name for f in file.schema_arrow if wanted is None or wanted(f)]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as e:
        raise NotText("parquet") from e
