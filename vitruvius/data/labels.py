"""Labels of texts: from a column, or from a table beside the corpus that names its documents."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitruvius.contracts import Array, Task
from vitruvius.data.errors import DataError, did_you_mean, listed
from vitruvius.data.loaded import Loaded
from vitruvius.data.tables import TARGET_NAMES, Table, read_table
from vitruvius.data.targets import Target, target_of

KEY_NAMES = ("file", "path", "filename", "file_name", "document", "doc", "source", "name", "id")
MOST_ABSENT = 0.5


def answers(values: list[Any], where: str, task: str | None) -> Target:
    """Classes or numbers of values as they were read; strings of digits are numbers."""
    filled = [v for v in values if v not in (None, "")]
    made: Array = np.empty(len(values), object)
    made[:] = [None if v in (None, "") else v for v in values]
    if len(filled) == len(values) and not any(isinstance(v, bool) for v in values):
        try:
            made = np.array([float(v) for v in values])
        except (ValueError, TypeError):
            made[:] = [str(v) for v in values]
    return target_of(made, where, task)


def label_texts(
    loaded: Loaded,
    path: str | os.PathLike[str],
    label: str | None = None,
    *,
    key: str | None = None,
    task: str | None = None,
) -> Loaded:
    """Those texts of a corpus that a table names, with their labels, in the corpus's order.

    The column ``key`` (found if not given) names a document by its source: the path in the folder,
    or the file's name with or without suffix, where that is not ambiguous. Rows whose text is not
    there are skipped and counted in ``notes``; where more than half are so, DataError.
    """
    table = read_table(Path(path), None, tuple(filter(None, (label, key))))
    label = label or _found(table, TARGET_NAMES, "label")
    key = key or _found(table, KEY_NAMES, "key")
    for name in (label, key):
        if name not in table.columns:
            raise DataError(
                f"{table.path.name} has no column {name!r}. {did_you_mean(name, table.columns)}"
            )
    names = table.columns[key].to_pylist()
    values = table.columns[label].to_pylist()
    places = _places(loaded)
    rows: dict[int, Any] = {}
    absent, twice = [], []
    for name, value in zip(names, values, strict=True):
        place = places.get(str(name))
        if place is None:
            absent.append(str(name))
        elif place in rows and rows[place] != value:
            twice.append(str(name))
        else:
            rows[place] = value
    if twice:
        raise DataError(
            f"{table.path.name} gives different labels to {listed(twice, 3)}. Keep one of each."
        )
    if not rows or len(absent) > MOST_ABSENT * len(names):
        raise DataError(
            f"{table.path.name}, column {key!r}: {len(absent):,} of {len(names):,} labelled texts "
            f"are not in {loaded.source} ({listed(absent, 3)}). The column must name them like "
            f"{str(loaded.documents.attributes['source'][0])!r}."
        )
    order = sorted(rows)
    target = answers([rows[i] for i in order], table.where(label), task)
    notes = (*loaded.notes, target.note)
    if absent:
        notes += (
            f"{table.path.name}: {len(absent):,} labels whose text is not in {loaded.source} "
            f"skipped ({listed(absent, 3)}).",
        )
    documents = loaded.documents.take(np.array(order)).annotate({"label": target.label})
    named = Task(loaded.task.name, "item", target.classes)
    return Loaded(documents, named, loaded.source, "text", notes, loaded.facts)


def _found(table: Table, names: tuple[str, ...], what: str) -> str:
    lowered = {name.lower(): name for name in reversed(list(table.columns))}
    for name in names:
        if name in lowered:
            return lowered[name]
    raise DataError(
        f"{table.path.name} has no column called {' or '.join(names[:3])}. "
        f"Name it: {what}=... There is {listed(list(table.columns))}."
    )


def _places(loaded: Loaded) -> dict[str, int]:
    """Position of each document by its source and, where only one has it, by its file's name."""
    sources = [str(s) for s in loaded.documents.attributes["source"].tolist()]
    found: dict[str, int] = {}
    for shorten in (str, lambda s: PurePosixPath(s).name, _stem):
        names = [shorten(s) for s in sources]
        times = Counter(names)
        found |= {n: i for i, n in enumerate(names) if times[n] == 1 and n not in found}
    return found


def _stem(source: str) -> str:
    return PurePosixPath(source).name.split(".")[0]
