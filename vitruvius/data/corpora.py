"""Texts of a corpus: folders of text, Markdown, code, JSON lines, CSV, Parquet; all as .gz too."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vitruvius.contracts import Array, Documents, Task
from vitruvius.data.encodings import NotText, blocks
from vitruvius.data.errors import DataError, did_you_mean
from vitruvius.data.labels import answers
from vitruvius.data.loaded import Loaded
from vitruvius.data.records import Record, Wanted, kind_of, records
from vitruvius.data.tally import Tally
from vitruvius.data.texts import Spool

Unit = Literal["file", "paragraph", "line"]
FOLDER = "folder"  # as the label: the first folder of a file's path
PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
KEPT_NAMES = ("text", "label", "source", "time", "split")
STRINGS = np.dtypes.StringDType()
NO_TIME = np.datetime64("NaT", "s")


def open_texts(
    source: str | os.PathLike[str],
    text: str | None = None,
    label: str | None = None,
    *,
    task: str | None = None,
    unit: Unit = "file",
    sources: str | None = None,
    time: str | None = None,
    keep: Sequence[str] = (),
    encoding: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Loaded:
    """A corpus, from a file or a folder with all that is in it; hidden files are left out.

    Files of JSON lines (.jsonl, .ndjson), CSV (.csv, .tsv) and Parquet hold a text in each row, in
    the column ``text`` (found by its name or its values if not given); ``label``, ``sources``,
    ``time`` and ``keep`` are others. Any other file is one text, or one for each ``unit``. With
    ``label="folder"`` a file's class is the first folder of its path.

    Payload "text"; attributes "source" (path in the folder, or the column), "time" where there is
    one (NaT where it cannot be read), "label", and those of ``keep``. Many texts lie in a temporary
    file in ``cache``, and none but a few MB in memory. What is skipped or mended is counted in
    ``notes``.
    """
    wanted = Wanted(text, None if label == FOLDER else label, sources, time, tuple(keep))
    _check(wanted, unit)
    root = Path(source).expanduser()
    tally = Tally()
    known: dict[str, list[Any]] = {name: [] for name in ("source", "time", "label", *keep)}
    with Spool(cache) as spool:
        for record in _all(root, wanted, unit, tally, encoding):
            if not record.text.strip():
                tally.add("empty", record.source)
                continue
            spool.add(_mended(record, tally))
            row = (record.source, record.time, record.label, *record.kept)
            for name, value in zip(known, row, strict=True):
                known[name].append(value)
        if not spool.ends:
            said = " ".join(tally.notes()) or "It is empty."
            raise DataError(f"{root} holds no text. {said} Give a corpus with some.")
        documents = Documents({"text": spool.column()}, digest=spool.digest)
    if label == FOLDER:
        known["label"] = [_folder(name, root) for name in known["source"]]
    attributes, classes, notes = _attributes(known, label, task, root, tally)
    count = f"{root.name}: {len(documents):,} texts, {spool.total / 1e6:,.1f} MB."
    return Loaded(
        documents.annotate(attributes),
        Task(re.sub(r"\W+", "_", root.name.split(".")[0]).strip("_") or "texts", "item", classes),
        str(source),
        "text",
        (count, *tally.notes(), *notes),
        {"level": "item", "text": text, "unit": unit, "encoding": encoding},
    )


def _check(wanted: Wanted, unit: str) -> None:
    if unit not in ("file", "paragraph", "line"):
        raise DataError(f"open_texts: unit is 'file', 'paragraph' or 'line'; got {unit!r}.")
    if taken := set(wanted.keep) & set(KEPT_NAMES):
        raise DataError(
            f"open_texts keeps {sorted(taken)} under these names already. Rename the column."
        )


def _all(
    root: Path, wanted: Wanted, unit: Unit, tally: Tally, encoding: str | None
) -> Iterator[Record]:
    if not root.exists():
        near = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
        raise DataError(f"There is no {root}. {did_you_mean(root.name, near)}")
    single = root.is_file()
    for path in [root] if single else text_files(root):
        where = path.name if single else path.relative_to(root).as_posix()
        try:
            if kind_of(path):
                yield from records(path, where, wanted, tally, encoding)
            else:
                yield from _texts(path, where, unit, tally, encoding)
        except NotText as e:
            tally.add(e.kind, where)
        except DataError as e:
            if single or not kind_of(path):
                raise
            tally.add("table", str(e))


def text_files(root: Path, without: Collection[str] = ()) -> Iterator[Path]:
    """All files below, sorted, without hidden ones and those in folders of these names; links to
    folders are not followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in without)
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _texts(
    path: Path, where: str, unit: Unit, tally: Tally, encoding: str | None
) -> Iterator[Record]:
    held, count = "", 0
    for block in blocks(path, tally, where, encoding):
        if unit == "file":
            count += 1
            if count == 2:
                tally.add("long", where)
            yield Record(block, where)
            continue
        parts = block.split("\n") if unit == "line" else PARAGRAPH.split(held + block)
        if unit == "paragraph":
            held = parts.pop()
        yield from (Record(part.strip("\n"), where) for part in parts if part.strip())
    if held.strip():
        yield Record(held.strip("\n"), where)
    if path.stat().st_size == 0:
        yield Record("", where)


def _mended(record: Record, tally: Tally) -> str:
    try:
        record.text.encode()
        return record.text
    except UnicodeEncodeError:
        tally.add("surrogate", record.source)
        return record.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _folder(name: str, root: Path) -> str:
    if "/" not in name:
        raise DataError(
            f"{root}: label='folder' needs every file in a folder of its class; {name} is in none."
        )
    return name.split("/")[0]


def _attributes(
    known: dict[str, list[Any]], label: str | None, task: str | None, root: Path, tally: Tally
) -> tuple[dict[str, Array], tuple[str, ...], tuple[str, ...]]:
    found: dict[str, Array] = {"source": np.array(known.pop("source"), STRINGS)}
    times, labels = known.pop("time"), known.pop("label")
    if any(value is not None for value in times):
        found["time"] = np.array(
            [_time(v, s, tally) for v, s in zip(times, found["source"], strict=True)], "M8[s]"
        )
    classes, notes = (), ()
    if label is not None:
        target = answers(labels, f"{root.name}, {label!r}", task)
        found["label"], classes, notes = target.label, target.classes, (target.note,)
    for name, values in known.items():
        found[name] = _column(values)
    return found, classes, notes


def _time(value: Any, where: str, tally: Tally) -> np.datetime64:
    """Dates and times, ISO 8601, years, and seconds since 1970."""
    try:
        if isinstance(value, datetime.datetime) and value.tzinfo:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        if isinstance(value, (datetime.date, datetime.datetime)):
            return np.datetime64(value, "s")
        if isinstance(value, str) and not re.fullmatch(r"\s*[\d.]+\s*", value):
            read = datetime.datetime.fromisoformat(value.strip())
            return _time(read, where, tally)
        number = float(value)
        if 1000 <= number < 3000:
            return np.datetime64(f"{int(number):04}", "s")
        return np.datetime64(int(number), "s")
    except (ValueError, TypeError, OverflowError):
        tally.add("time", where)
        return NO_TIME


def _column(values: list[Any]) -> Array:
    """Numbers as float64, all else as strings; missing is NaN or empty."""
    try:
        return np.array([np.nan if v in (None, "") else float(v) for v in values], np.float64)
    except (ValueError, TypeError):
        return np.array(["" if v is None else str(v) for v in values], STRINGS)
