"""What is asked: a class or a number, told from the values of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.contracts import Array
from vitruvius.data.errors import DataError, listed, numbered

MOST_NUMBERED_CLASSES = 20
LEAST_ROWS_PER_NUMBERED_CLASS = 5
TASKS = ("classification", "regression")


@dataclass(frozen=True, eq=False)
class Target:
    """The answers of N rows: class positions (int64) with names, or numbers (float32)."""

    label: Array
    classes: tuple[str, ...]
    note: str


def target_of(values: Array, where: str, task: str | None = None) -> Target:
    """Classes or numbers, from strings or booleans [N] (None is missing) or numbers [N].

    Strings and booleans are classes. Numbers are classes where they are whole, at most 20 of them
    differ and each has 5 rows on average. ``task`` decides otherwise. ``where`` names the target.
    """
    if task is not None and task not in TASKS:
        raise DataError(f"task must be 'classification' or 'regression'; got {task!r}.")
    if not len(values):
        raise DataError(f"{where} has no rows. At least a few rows per class are needed.")
    numeric = values.dtype.kind in "fiu"
    _complete(values, where, numeric)
    if not numeric and task == "regression":
        worst = next(v for v in values.tolist() if not isinstance(v, (int, float)) or v is True)
        raise DataError(
            f"{where} holds {worst!r}, which is not a number, so it cannot be a regression. "
            "Choose a numeric target, or task='classification'."
        )
    if numeric and task != "classification" and (task or not _few_whole(values)):
        return _numbers(values, where)
    return _classes(values, where, task)


def _complete(values: Array, where: str, numeric: bool) -> None:
    if numeric:
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    else:
        missing = np.array([v is None for v in values.tolist()])
    if missing.any():
        rows = np.flatnonzero(missing).tolist()
        raise DataError(
            f"{where} is missing in {len(rows):,} of {len(values):,} rows ({numbered(rows)}). "
            "Fill them in, or delete these rows."
        )
    if numeric and not np.isfinite(values).all():
        rows = np.flatnonzero(~np.isfinite(values)).tolist()
        raise DataError(f"{where} is infinite in {numbered(rows)}. Delete or mend these rows.")


def _few_whole(values: Array) -> bool:
    distinct = np.unique(values)
    return bool(
        len(distinct) <= MOST_NUMBERED_CLASSES
        and (distinct == np.round(distinct)).all()
        and len(values) >= LEAST_ROWS_PER_NUMBERED_CLASS * len(distinct)
    )


def _numbers(values: Array, where: str) -> Target:
    label = values.astype(np.float32)
    if not np.isfinite(label).all():
        raise DataError(f"{where} holds numbers beyond 3e38. Use a smaller unit, or logarithms.")
    if label.min() == label.max():
        raise DataError(
            f"{where} is {_name(values.tolist()[0])} in every row: nothing can be learned. "
            "Choose another target."
        )
    return Target(label, (), f"{where} holds numbers: regression.")


def _classes(values: Array, where: str, task: str | None) -> Target:
    found, label = _positions(values)
    names = [_name(v) for v in found]
    if len(names) < 2:
        raise DataError(
            f"{where} has one class only, {names[0]!r}, in all {len(values):,} rows. "
            "Add rows of another class, or choose another target."
        )
    if len(names) > max(2, len(values) // 2):
        raise DataError(
            f"{where} has {len(names):,} different values in {len(values):,} rows "
            f"({listed(names, 3)}): too many to be classes. Choose another target."
        )
    note = f"{where} has {len(names)} classes: classification."
    if values.dtype.kind in "fiu" and task is None:
        note = f"{where} has {len(names)} whole numbers: read as classes (task='regression' if not)"
    return Target(label.astype(np.int64), tuple(names), note)


def _positions(values: Array) -> tuple[list[Any], Array]:
    """Distinct values in order, and the position of each row's."""
    if values.dtype.kind != "O":
        found, label = np.unique(values, return_inverse=True)
        return found.tolist(), label.reshape(-1)
    items = values.tolist()
    found = sorted(set(items))
    position = {v: i for i, v in enumerate(found)}
    return found, np.fromiter((position[v] for v in items), np.int64, len(items))


def _name(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)
