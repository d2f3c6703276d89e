"""Delimited text (csv, tsv) as columns of strings: encoding, delimiter, header, ragged rows."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitruvius.data.errors import DataError

if TYPE_CHECKING:
    import pyarrow

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_ROWS = 50


@dataclass(frozen=True, eq=False)
class Text:
    """Cells as they are written, and what had to be found out to cut them."""

    names: tuple[str, ...]
    header: bool
    columns: tuple[pyarrow.ChunkedArray, ...]
    """Strings, not yet trimmed."""
    notes: tuple[str, ...]
    decimal_comma: bool
    """Whether a comma may be the decimal point, since it does not part the cells."""


def read_delimited(path: Path, header: bool | None = None, known: tuple[str, ...] = ()) -> Text:
    """The cells of a file. ``header=None`` finds out; ``known`` names speak for a header."""
    text, notes = _text(path)
    first = first_rows(text, ",")
    if not first:
        raise DataError(f"{path.name} is empty: it has no rows. Give a table with some.")
    delimiter = delimiter_of(text, path)
    first = first_rows(text, delimiter)
    width = len(first[0])
    if header is None:
        header = has_header(first, known)
        if not header:
            notes.append(
                f"{path.name} has no line of column names: they are called column1 to "
                f"column{width} (header=True if the first line names them)."
            )
    names = _names(first[0], path) if header else tuple(f"column{i + 1}" for i in range(width))
    columns = _cells(text, delimiter, width, header, path)
    return Text(names, header, columns, tuple(notes), delimiter != ",")


def _text(path: Path) -> tuple[str, list[str]]:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise DataError(f"{path} is a broken gzip file ({e}). Compress it again.") from e
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or e}. Check its permissions.") from e
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return content.decode("utf-16"), [f"{path.name} is read as UTF-16."]
        except UnicodeDecodeError as e:
            raise DataError(f"{path} is not text. Save it as CSV in UTF-8.") from e
    if b"\0" in content:
        raise DataError(f"{path} is not text: it holds zero bytes. Save it as CSV in UTF-8.")
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        return content.decode("latin-1"), [
            f"{path.name} is not UTF-8 (line {line}): read as Latin-1. "
            "Where letters look wrong, save it as UTF-8."
        ]


def first_rows(
    text: str, delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
) -> list[list[str]]:
    """At most 50 rows of the first 200,000 characters, without empty ones."""
    rows: list[list[str]] = []
    sniffed = io.StringIO(text[:200_000], newline=None)
    try:
        for row in csv.reader(sniffed, delimiter=delimiter, quoting=quoting):
            if row:
                rows.append(row)
            if len(rows) == SNIFFED_ROWS:
                break
    except csv.Error:  # a cell longer than the module's limit: the rows so far must do
        pass
    return rows


def delimiter_of(text: str, path: Path) -> str:
    """The one that cuts most of the first rows into equally many cells, and into the most."""
    if ".tsv" in path.suffixes or ".tab" in path.suffixes:
        return "\t"

    def agreement(delimiter: str) -> tuple[bool, float, int]:
        widths = Counter(len(row) for row in first_rows(text, delimiter))
        width, rows = widths.most_common(1)[0]
        return width > 1, rows / widths.total(), width

    found = {delimiter: agreement(delimiter) for delimiter in DELIMITERS}
    best = max(found, key=lambda d: found[d])
    others = [d for d in found if d != "," and found[d][0] and found[d][1] == found[best][1]]
    if best == "," and others and 2 * found[others[0]][2] >= found[","][2]:
        return others[0]  # 1,5;2,5;3,5: the commas are decimal
    return best


def has_header(rows: list[list[str]], known: tuple[str, ...]) -> bool:
    """Names are distinct and no numbers, where the rows below hold some numbers or other words."""
    first = [cell.strip() for cell in rows[0]]
    if set(known) & set(first):
        return True
    filled = [cell for cell in first if cell]
    if len(set(filled)) < len(filled) or any(map(_is_number, filled)):
        return False
    below = [[cell.strip() for cell in row] for row in rows[1:]]
    return not any(
        cell and cell in {row[i] for row in below if i < len(row)} for i, cell in enumerate(first)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _names(first: list[str], path: Path) -> tuple[str, ...]:
    names = [cell.strip() or f"column{i + 1}" for i, cell in enumerate(first)]
    for name, times in Counter(names).items():
        if times > 1:
            where = [str(i + 1) for i, n in enumerate(names) if n == name]
            raise DataError(
                f"{path.name}: {times} columns are called {name!r} (columns {', '.join(where)}). "
                "Rename all but one."
            )
    return tuple(names)


def _cells(
    text: str, delimiter: str, width: int, header: bool, path: Path
) -> tuple[pyarrow.ChunkedArray, ...]:
    import pyarrow as pa
    from pyarrow import csv as arrow

    keys = [str(i) for i in range(width)]
    try:
        table = arrow.read_csv(
            pa.BufferReader(text.encode("utf-8", "surrogatepass")),
            arrow.ReadOptions(column_names=keys),
            arrow.ParseOptions(delimiter=delimiter, newlines_in_values='"' in text),
            arrow.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as e:
        _explain_ragged(text, delimiter, width, path)
        raise DataError(f"{path.name} cannot be parsed as CSV: {e}. Save it again.") from e
    return tuple(column.slice(1 if header else 0) for column in table.columns)


def _explain_ragged(text: str, delimiter: str, width: int, path: Path) -> None:
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    with contextlib.suppress(csv.Error):
        for row in reader:
            if row and len(row) != width:
                raise DataError(
                    f"{path.name}, line {reader.line_num}: {len(row)} cells, where the first line "
                    f"has {width} ({delimiter.join(row)[:60]!r}). "
                    "Quote cells that hold the delimiter, or mend the line."
                )
