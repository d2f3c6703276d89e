"""Reads a table as text: columns of cells as a model reads them."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

MISSING = (
    "", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "Null", "null",
    "None", "none",
)  # fmt: skip
DELIMITERS = (",", ";", "\t", "|")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


def read_table(
    path: Path, kinds: dict[str, str], order: Sequence[str] = (), target: str = ""
) -> dict[str, list]:
    """Columns of a .csv or .tsv (or .gz of it) by name, None where a cell is missing.

    ``kinds`` says of each column that is read whether it holds numbers, booleans, dates or
    categories. ``order`` names the columns of a file that has no line of names; the target may be
    left out of it.
    """
    if ".parquet" in path.suffixes:
        raise ValueError(f"{path.name} is Parquet; this program reads CSV. Save it as .csv.")
    text = read_text(path)
    delimiter = "\t" if {".tsv", ".tab"} & set(path.suffixes) else find_delimiter(text)
    rows = list(cut(text, delimiter))
    if not rows:
        raise ValueError(f"{path.name} is empty: it has no rows. Give a table with some.")
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise ValueError(
                f"{path.name}, line {line}: {len(row)} cells, where the first line has {width}."
            )
    names = [cell.strip() or f"column{i + 1}" for i, cell in enumerate(rows[0][1])]
    if order:
        names = list(order) if width == len(order) else [n for n in order if n != target]
        if width != len(names):
            raise ValueError(f"{path.name} has {width} columns; the model reads {len(names)}.")
    else:
        rows = rows[1:]
    absent = [name for name in kinds if name not in names]
    if absent:
        raise ValueError(f"{path.name} has no column {absent[0]!r}; it has {', '.join(names)}.")
    if twice := [name for name in kinds if names.count(name) > 1]:
        raise ValueError(f"{path.name} has two columns {twice[0]!r}. Rename one.")
    if not rows:
        raise ValueError(f"{path.name} has no rows to predict. Give a table with at least one.")
    columns = {}
    for name, kind in kinds.items():
        place = names.index(name)
        words = [row[place].strip() for _, row in rows]
        cells = [None if word in MISSING else word for word in words]
        columns[name] = read_column(cells, kind, f"{path.name}, column {name!r}", delimiter != ",")
    return columns


def read_column(
    cells: list[str | None], kind: str, where: str, decimal_comma: bool
) -> list[str | float | bool | None]:
    """Trimmed cells as values of their kind. Raises ValueError at a cell that is not of it."""
    if kind == "category":
        return list(cells)
    known = [cell for cell in cells if cell is not None]
    if kind == "number" and known and all(THOUSANDS.fullmatch(cell) for cell in known):
        raise ValueError(f"{where}: {known[0]!r} is not a number. Write it without the comma.")
    read = {"number": as_number, "boolean": as_boolean, "date": as_date}[kind]
    wanted = {"number": "a number", "boolean": "true or false", "date": "a date (2024-12-31)"}[kind]
    values = []
    for row, cell in enumerate(cells, 1):
        if cell is None:
            values.append(None)
            continue
        if kind == "number" and decimal_comma and as_number(cell) is None:
            cell = cell.replace(",", ".")
        value = read(cell)
        if value is None:
            raise ValueError(
                f"{where}, row {row}: {cell!r} is not {wanted}. Mend it, or leave it empty."
            )
        values.append(value)
    return values


def as_number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in cell else None


def as_boolean(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.lower())


def as_date(cell: str) -> str | None:
    try:
        datetime.datetime.fromisoformat(cell)
    except ValueError:
        return None
    return cell


def read_text(path: Path) -> str:
    """The text of a file, unpacked; UTF-8, UTF-16 where it is marked, else Latin-1."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path.name} is a broken gzip file ({error}).") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError(f"{path.name} is not text: it holds zero bytes. Save it as CSV in UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def cut(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(number of its line, cells) of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    return [(reader.line_num, row) for row in reader if row]


def find_delimiter(text: str, rows: int = 50) -> str:
    """The one that cuts most of the first rows into equally many cells, and into the most."""

    def agreement(delimiter: str) -> tuple[bool, float, int]:
        reader = csv.reader(io.StringIO(text[:200_000], newline=None), delimiter=delimiter)
        first = [row for row, _ in zip((row for row in reader if row), range(rows), strict=False)]
        widths = Counter(len(row) for row in first)
        if not widths:
            return False, 0.0, 0
        width, times = widths.most_common(1)[0]
        return width > 1, times / len(first), width

    found = {delimiter: agreement(delimiter) for delimiter in DELIMITERS}
    best = max(found, key=lambda delimiter: found[delimiter])
    others = [d for d in found if d != "," and found[d][0] and found[d][1] == found[best][1]]
    if best == "," and others and 2 * found[others[0]][2] >= found[","][2]:
        return others[0]  # 1,5;2,5;3,5: the commas are decimal
    return best
