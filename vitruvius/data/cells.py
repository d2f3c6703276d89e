"""Columns of a table as arrays: what kind each is, found once; then read strictly as that kind.

number: float64, NaN is missing. boolean: True, False or None. category: str or None.
date: datetime64[us] in UTC, NaT is missing.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vitruvius.contracts import Array
from vitruvius.data.errors import DataError, numbered

if TYPE_CHECKING:
    import pyarrow

ColumnKind = Literal["number", "boolean", "category", "date"]

MISSING = (
    "", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "Null", "null",
    "None", "none",
)  # fmt: skip
"""Words that mean an empty cell, after trimming."""

THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+$"
LEADING_ZERO = r"^0\d+$"
DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"

FIRST_INSTANT = np.datetime64("0001-01-01", "us")
LAST_INSTANT = np.datetime64("9999-12-31", "us")


def kind_of(column: pyarrow.ChunkedArray, decimal_comma: bool = False) -> ColumnKind | None:
    """The kind of a column, from its type or, of strings, from all its cells.

    None where nothing is in it.
    """
    import pyarrow as pa

    pc = _compute()

    if column.null_count == len(column):
        return None
    of = column.type
    if pa.types.is_boolean(of):
        return "boolean"
    if pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of):
        return "number"
    if pa.types.is_timestamp(of) or pa.types.is_date(of):
        return "date"
    if pa.types.is_time(of) or pa.types.is_duration(of):
        return "number"
    words: Any = column.drop_null()
    if _all(pc.is_in(pc.utf8_lower(words), pa.array(["true", "false"]))):
        return "boolean"
    if pc.any(pc.match_substring_regex(words, LEADING_ZERO)).as_py():
        return "category"  # codes, such as postal ones: 01067
    if _parses(words, decimal_comma) is not None:
        return "number"
    return "date" if _all(pc.match_substring_regex(words, DATE)) and _dates(words) else "category"


def cleaned(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Strings trimmed, with words for missing as nulls; dictionaries spelled out."""
    import pyarrow as pa

    pc = _compute()

    of = column.type
    if pa.types.is_null(of):
        return column.cast(pa.string())
    if pa.types.is_dictionary(of):
        return cleaned(column.cast(of.value_type))
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of):
        trimmed: Any = pc.utf8_trim_whitespace(column.cast(pa.string()))
        missing = pc.is_in(trimmed, pa.array(MISSING))
        return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
    return column


def values(
    column: pyarrow.ChunkedArray, kind: ColumnKind, where: str, decimal_comma: bool = False
) -> Array:
    """A cleaned column as an array of this kind. A cell that is not of it is named."""
    if kind == "number":
        return _finite(_numbers(column, where, decimal_comma), where)
    if kind == "boolean":
        return _booleans(column, where)
    return _instants(column, where) if kind == "date" else _words(column)


def _numbers(column: pyarrow.ChunkedArray, where: str, decimal_comma: bool) -> Array:
    import pyarrow as pa

    of: Any = column.type
    if pa.types.is_string(of):
        parsed = _parses(column, decimal_comma)
        if parsed is None:
            _refuse(column, where, "a number", lambda cell: _parses(cell, decimal_comma))
        column = parsed
    elif pa.types.is_time(of):
        column = column.cast(pa.int64() if of.bit_width == 64 else pa.int32())
    elif pa.types.is_duration(of) or pa.types.is_boolean(of):
        column = column.cast(pa.int64() if pa.types.is_duration(of) else pa.int8())
    elif pa.types.is_temporal(of) or pa.types.is_nested(of):
        raise DataError(f"{where} holds {of}, where numbers were before. Give numbers there.")
    return np.array(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _finite(numbers: Array, where: str) -> Array:
    if np.isinf(numbers).any():
        rows = np.flatnonzero(np.isinf(numbers)).tolist()
        raise DataError(
            f"{where} is infinite in {numbered(rows)}. Write a number there, or leave it empty."
        )
    return numbers


def _booleans(column: pyarrow.ChunkedArray, where: str) -> Array:
    import pyarrow as pa

    pc = _compute()

    if pa.types.is_string(column.type):
        lowered: Any = pc.utf8_lower(column)
        known = pc.or_kleene(pc.equal(lowered, "true"), pc.equal(lowered, "false"))
        if not _all(pc.fill_null(known, True)):
            _refuse(
                column,
                where,
                "true or false",
                lambda cell: True if cell[0].as_py().lower() in ("true", "false") else None,
            )
        column = pc.equal(lowered, "true")
    elif not pa.types.is_boolean(column.type):
        raise DataError(f"{where} holds {column.type}, where it was true or false before.")
    return _objects(column.to_pylist())


def _instants(column: pyarrow.ChunkedArray, where: str) -> Array:
    import pyarrow as pa

    if pa.types.is_string(column.type):
        read = _dates(column)
        if read is None:
            _refuse(column, where, "a date such as 2024-12-31", _dates)
        column = read
    elif not pa.types.is_temporal(column.type):
        raise DataError(f"{where} holds {column.type}, where dates were before.")
    zone = getattr(column.type, "tz", None)
    instants = np.array(column.cast(pa.timestamp("us", zone), safe=False).to_numpy(), "<M8[us]")
    far = (instants < FIRST_INSTANT) | (instants >= LAST_INSTANT)
    if far.any():
        raise DataError(
            f"{where} has a date before year 1 or after 9999 in "
            f"{numbered(np.flatnonzero(far).tolist())}. Mend it, or leave it empty."
        )
    return instants


def _words(column: pyarrow.ChunkedArray) -> Array:
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return _objects(column.to_pylist())
    whole = not pa.types.is_floating(column.type)
    return _objects(
        [None if v is None else str(v if whole or v % 1 else int(v)) for v in column.to_pylist()]
    )


def _objects(items: list[Any]) -> Array:
    made = np.empty(len(items), object)
    made[:] = items
    return made


def _parses(words: Any, decimal_comma: bool) -> Any:
    """Strings as float64, or None where one of them is no number."""
    import pyarrow as pa

    pc = _compute()

    try:
        return words.cast(pa.float64())
    except pa.ArrowInvalid:
        pass
    if not decimal_comma or _all(pc.match_substring_regex(words.drop_null(), THOUSANDS)):
        return None
    try:
        return pc.replace_substring(words, ",", ".").cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _dates(words: Any) -> Any:
    """ISO 8601 strings as UTC timestamps, or None where one of them is none."""
    import pyarrow as pa

    for of in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return words.cast(of)
        except pa.ArrowInvalid:
            continue
    try:  # with and without a zone in one column
        return pa.chunked_array([pa.array(map(_instant, words.to_pylist()), pa.timestamp("us"))])
    except ValueError:
        return None


def _instant(word: str | None) -> datetime.datetime | None:
    if word is None:
        return None
    read = datetime.datetime.fromisoformat(word)
    return read.astimezone(datetime.UTC).replace(tzinfo=None) if read.tzinfo else read


def _refuse(column: Any, where: str, wanted: str, parse: Any) -> None:
    for row in range(len(column)):
        cell = column.slice(row, 1)
        if cell.null_count == 0 and parse(cell) is None:
            raise DataError(
                f"{where}, row {row + 1}: {cell[0].as_py()!r} is not {wanted}. "
                "Mend the cell, or leave it empty."
            )
    raise DataError(f"{where} is not all {wanted}. Write every cell in the same way.")


def _all(truth: Any) -> bool:
    pc = _compute()

    return bool(pc.all(truth).as_py())


def _compute() -> Any:
    """pyarrow.compute, whose functions are made at run time and unknown to type checkers."""
    import pyarrow.compute

    return pyarrow.compute
