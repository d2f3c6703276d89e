"""Tables: csv, tsv, their gzip, and parquet; with a target column."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvius.contracts import Array, Documents, Json, Task
from vitruvius.data import cells
from vitruvius.data.delimited import read_delimited
from vitruvius.data.errors import DataError, did_you_mean, listed
from vitruvius.data.loaded import PART_NAMES, Loaded, attributes
from vitruvius.data.targets import Target, target_of

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".parquet")
TARGET_NAMES = ("target", "label", "class", "y")
COUNTER = re.compile(
    r"|id|index|idx|row|row_?(id|number|names)|rownames|unnamed.*|column1|nr|no", re.IGNORECASE
)


@dataclass(frozen=True, eq=False)
class Table:
    """A file as columns, strings trimmed, missing cells null."""

    path: Path
    columns: Mapping[str, pyarrow.ChunkedArray]
    header: bool
    notes: tuple[str, ...]
    decimal_comma: bool

    def where(self, name: str) -> str:
        return f"{self.path.name}, column {name!r}"


def open_table(
    path: Path,
    target: str | None = None,
    *,
    task: str | None = None,
    group: str | None = None,
    header: bool | None = None,
    leave_out: Sequence[str] = (),
) -> Loaded:
    """A table whose column ``target`` is the answer and whose other columns are inputs."""
    table = read_table(path, header, tuple(filter(None, (target, group, *leave_out))))
    target = _find_target(table, target)
    for name in (*leave_out, *filter(None, (group,))):
        _need(table, name)
    answer = _answer(table, target, task)
    parts = _parts(table, target)
    aside = {target, group, *leave_out, *(("split",) if parts is not None else ())}
    taken = {"label", *(("group",) if group else ())}
    inputs, kinds, notes = _inputs(table, aside, taken)
    documents = Documents(
        inputs,
        attributes(
            answer.label,
            split=parts,
            group=None if group is None else _codes(table, group),
        ),
        _digest(inputs, target, answer.classes, (group, parts is not None), path),
    )
    facts = {
        "target": target,
        "header": table.header,
        "columns": [{"name": n, "kind": k} for n, k in kinds.items()],
        "order": list(table.columns),
    }
    return Loaded(
        documents,
        Task(_stem(path), "item", answer.classes, group="group" if group else None),
        str(path),
        "table",
        (*table.notes, answer.note, *notes),
        facts,
    )


def read_table_inputs(path: Path, like: Json) -> Documents:
    """The columns that ``like`` describes, from a table with or without the target."""
    names = [c["name"] for c in like["columns"]]
    table = read_table(path, bool(like["header"]))
    columns = table.columns if like["header"] else _by_position(table, like)
    if absent := [n for n in names if n not in columns]:
        raise DataError(
            f"{path.name} has no column {listed(absent)}, which the model reads. "
            + did_you_mean(absent[0], [n for n in columns if n not in names] or columns)
        )
    if not len(columns[names[0]]):
        raise DataError(f"{path.name} has no rows to predict. Give a table with at least one.")
    inputs = {
        c["name"]: cells.values(
            columns[c["name"]], c["kind"], table.where(c["name"]), table.decimal_comma
        )
        for c in like["columns"]
    }
    return Documents(inputs)


def read_table(path: Path, header: bool | None, known: tuple[str, ...] = ()) -> Table:
    """The cells of a file of any of the kinds."""
    if ".parquet" in path.suffixes:
        return _parquet(path)
    text = read_delimited(path, header, known)
    columns = {n: cells.cleaned(c) for n, c in zip(text.names, text.columns, strict=True)}
    return Table(path, columns, text.header, text.notes, text.decimal_comma)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            read = parquet.read_table(file)
    except pa.ArrowException as e:
        raise DataError(f"{path} cannot be read as Parquet ({e}). Write it again.") from e
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e}. Check the file.") from e
    if len(set(read.column_names)) < len(read.column_names):
        twice = sorted({n for n in read.column_names if read.column_names.count(n) > 1})
        raise DataError(f"{path.name} has columns of one name: {listed(twice)}. Rename them.")
    columns, notes = {}, []
    for name, column in zip(read.column_names, read.columns, strict=True):
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            notes.append(f"{path.name}, column {name!r} holds {column.type}: left out.")
        else:
            columns[name] = cells.cleaned(column)
    return Table(path, columns, True, tuple(notes), False)


def _find_target(table: Table, target: str | None) -> str:
    names = list(table.columns)
    if target is None:
        lowered = {n.lower(): n for n in reversed(names)}
        found = next((lowered[n] for n in TARGET_NAMES if n in lowered), None)
        if found is None:
            raise DataError(
                f"{table.path.name}: which column is the target? It has {listed(names)}. "
                f"Name it, such as target={names[-1]!r}."
            )
        return found
    if target not in names and re.fullmatch(r"-?\d+", target):
        position = int(target)
        if position and -len(names) <= position <= len(names):
            return names[position - (position > 0)]
    _need(table, target)
    return target


def _need(table: Table, name: str) -> None:
    if name not in table.columns:
        hint = "" if table.header else " The file has no line of names; header=True if it has."
        raise DataError(
            f"{table.path.name} has no column {name!r}. "
            f"{did_you_mean(name, list(table.columns))}{hint}"
        )


def _answer(table: Table, target: str, task: str | None) -> Target:
    column, where = table.columns[target], f"{table.path.name}, target {target!r}"
    if not len(column):
        raise DataError(f"{table.path.name} has no rows below its names. Give a table with some.")
    kind = cells.kind_of(column, table.decimal_comma)
    if kind is None:
        raise DataError(f"{where} is empty in every row. Choose another target.")
    if kind == "date":
        raise DataError(f"{where} holds dates. Choose classes or numbers as target.")
    values = cells.values(column, kind, where, table.decimal_comma)
    return target_of(values, where, task)


def _parts(table: Table, target: str) -> Array | None:
    """Which part each row is of, where a column "split" says so in words that all are known."""
    if target == "split" or "split" not in table.columns:
        return None
    words = [str(w).lower() for w in table.columns["split"].to_pylist()]
    if not words or not all(w in PART_NAMES for w in words):
        return None
    return np.array([PART_NAMES[w] for w in words], np.int8)


def _codes(table: Table, group: str) -> Array:
    words = table.columns[group].to_pylist()
    known: dict[Any, int] = {}
    if None in words:
        raise DataError(
            f"{table.where(group)} is missing in row {words.index(None) + 1}. "
            "Every row needs a group; give each loose row one of its own."
        )
    return np.array([known.setdefault(w, len(known)) for w in words], np.int64)


def _inputs(
    table: Table, aside: set[str | None], taken: set[str]
) -> tuple[dict[str, Array], dict[str, cells.ColumnKind], list[str]]:
    inputs: dict[str, Array] = {}
    kinds: dict[str, cells.ColumnKind] = {}
    notes: list[str] = []
    for name, column in table.columns.items():
        if name in aside:
            continue
        if name in taken:
            raise DataError(
                f"{table.where(name)} is an input by a name that is needed for something else. "
                f"Rename it, or leave it out: leave_out=({name!r},)."
            )
        kind = cells.kind_of(column, table.decimal_comma)
        if kind is None:
            notes.append(f"{table.where(name)} is empty: left out.")
            continue
        array = cells.values(column, kind, table.where(name), table.decimal_comma)
        if reason := _useless(name, array, kind):
            notes.append(f"{table.where(name)} {reason}: left out.")
            continue
        if note := _remark(array, kind):
            notes.append(f"{table.where(name)} {note}")
        inputs[name], kinds[name] = array, kind
    if not inputs:
        raise DataError(
            f"{table.path.name} has no column to learn from beside the target. Add inputs."
        )
    return inputs, kinds, notes


def _useless(name: str, array: Array, kind: cells.ColumnKind) -> str:
    if kind == "number":
        known = array[~np.isnan(array)]
        constant = len(known) == len(array) and bool((known == known[0]).all())
        counts = len(array) >= 10 and array[0] in (0, 1) and bool((np.diff(array) == 1).all())
        if counts and COUNTER.fullmatch(name):
            return "numbers the rows"
    else:
        constant = len(set(array.tolist())) == 1
    return "is the same in every row" if constant and len(array) > 1 else ""


def _remark(array: Array, kind: cells.ColumnKind) -> str:
    if kind != "category" or len(array) < 20:
        return ""
    words = [w for w in array.tolist() if w is not None]
    distinct = set(words)
    if len(distinct) > 0.9 * len(words):
        return f"differs in nearly every row ({words[0]!r}): encoders can make little of it."
    if all(re.fullmatch(cells.THOUSANDS, w) for w in distinct):
        return f"looks like numbers with commas ({words[0]!r}): write them without."
    return ""


def _by_position(table: Table, like: Json) -> dict[str, Any]:
    """Columns of a file without names: as many as in training, or one less, the target's."""
    order = list(like["order"])
    columns = list(table.columns.values())
    if len(columns) == len(order) - 1:
        order.remove(like["target"])
    if len(columns) != len(order):
        raise DataError(
            f"{table.path.name} has {len(columns)} columns; the model was made from "
            f"{len(order)} without a line of names, target included. Give the same columns."
        )
    return dict(zip(order, columns, strict=True))


def _digest(inputs: Mapping[str, Array], target: str, classes: Any, how: Any, path: Path) -> str:
    made = hashlib.sha256(path.read_bytes())
    kinds = {name: array.dtype.str for name, array in inputs.items()}
    made.update(json.dumps(["table", kinds, target, list(classes), list(how)]).encode())
    return made.hexdigest()


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
