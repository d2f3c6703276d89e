"""Labels of texts: from a column, or from a table beside the corpus that names its documents."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitruvius.contracts import Array, Task
from vitruvius.data.encodings import NotText
from vitruvius.data.errors import DataError, did_you_mean, listed
from vitruvius.data.loaded import Loaded, part_of
from vitruvius.data.parts import part_files
from vitruvius.data.rows import Row, rows_of
from vitruvius.data.tables import TARGET_NAMES
from vitruvius.data.tally import Tally
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
    there are skipped and counted in ``notes``; where more than half are so, DataError. A column
    "split", or files for the parts in a folder, become the attribute "split".
    """
    places = _places(loaded)
    tally = Tally()
    rows: dict[int, tuple[Any, int | None]] = {}
    absent, twice, count, where = [], [], 0, ""
    for file in part_files(Path(path)):
        where = where or file.path.name
        for row in _rows(file.path, tally, (label, key)):
            if not count:
                label = _found(where, row, TARGET_NAMES, label, "label")
                key = _found(where, row, KEY_NAMES, key, "key")
            count += 1
            name, value = str(row.get(key or "", "")).strip(), row.get(label or "")
            answer = value.strip() if isinstance(value, str) else value
            told = (answer, part_of(str(row.get("split", ""))) if file.part is None else file.part)
            place = places.get(name)
            if place is None:
                absent.append(name)
            elif rows.setdefault(place, told) != told:
                twice.append(name)
    if twice:
        raise DataError(f"{where} gives different labels to {listed(twice, 3)}. Keep one of each.")
    if not rows or len(absent) > MOST_ABSENT * count:
        raise DataError(
            f"{where}, column {key!r}: {len(absent):,} of {count:,} labelled texts are not in "
            f"{loaded.source} ({listed(absent, 3)}). The column must name them like "
            f"{str(loaded.documents.attributes['source'][0])!r}."
        )
    order = sorted(rows)
    target = answers([rows[i][0] for i in order], f"{where}, column {label!r}", task)
    notes = (*loaded.notes, *tally.notes(), target.note)
    if absent:
        notes += (
            f"{where}: {len(absent):,} labels whose text is not in {loaded.source} "
            f"skipped ({listed(absent, 3)}).",
        )
    known = {"label": target.label}
    parts = [rows[i][1] for i in order]
    if None not in parts:
        known["split"] = np.array(parts, np.int8)
    documents = loaded.documents.take(np.array(order)).annotate(known)
    named = Task(loaded.task.name, "item", target.classes)
    return Loaded(documents, named, loaded.source, "text", notes, loaded.facts)


def _rows(path: Path, tally: Tally, known: tuple[str | None, ...]) -> Iterator[Row]:
    try:
        names = tuple(name for name in known if name)
        yield from rows_of(path, path.name, tally, known=names).rows
    except NotText as e:
        raise DataError(
            f"{path.name} is no table of labels. Give a .csv, .tsv, .jsonl or .parquet file."
        ) from e


def _found(where: str, row: Row, names: tuple[str, ...], given: str | None, what: str) -> str:
    if given is not None:
        if given not in row:
            raise DataError(f"{where} has no column {given!r}. {did_you_mean(given, row)}")
        return given
    lowered = {name.lower(): name for name in reversed(list(row))}
    for name in names:
        if name in lowered:
            return lowered[name]
    raise DataError(
        f"{where} has no column called {' or '.join(names[:3])}. "
        f"Name it: {what}=... There is {listed(list(row))}."
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
