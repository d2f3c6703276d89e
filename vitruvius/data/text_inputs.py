"""New texts without answers, read as those that a model was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitruvius.contracts import Documents, Json
from vitruvius.data.columns import WORDS_NAMES, Seen
from vitruvius.data.corpora import open_texts, text_files
from vitruvius.data.encodings import NotText, blocks
from vitruvius.data.errors import DataError, did_you_mean, numbered
from vitruvius.data.parts import WORDS as WORD_SUFFIXES
from vitruvius.data.records import TEXT_NAMES
from vitruvius.data.rows import TABLES, Row, rows_of, suffix_of
from vitruvius.data.sentences import holds_words, read_sentences, words_column
from vitruvius.data.tally import WORDS, Tally
from vitruvius.data.texts import Texts

SNIFFED_LINES = 2000


def read_text_inputs(path: Path, like: Json) -> Documents:
    """New texts, read as those that ``like`` (a ``description``) was made from.

    "item": the column of text of a table; lines or whole texts of other files; "set": the queries
    in the same way. "pair": both columns of a table. "token": words with or without tags, lists of
    words in a table, or texts that are cut at white space. Rows keep their order, and none is left
    out; of lines and files those without any text are. Raises DataError.
    """
    level = like.get("level", "item")
    try:
        if level == "token":
            return _words(path, like)
        if level == "pair" or (path.is_file() and suffix_of(path) in TABLES):
            return _table(path, like, level)
    except NotText as e:
        raise DataError(f"{path.name} is {_kind(e)}, no text. Give {_wanted(level)}.") from e
    return _texts(path, like, "query" if level == "set" else "text")


def _texts(path: Path, like: Json, name: str) -> Documents:
    """Each file of a folder, or the units of a file."""
    unit = "file" if path.is_dir() and like["unit"] == "line" else like["unit"]
    column = like["text"] if like.get("header", True) else None
    opened = open_texts(path, column, unit=unit, encoding=like["encoding"]).documents
    source = opened.attributes["source"]
    return Documents({name: opened.payload["text"]}, {"source": source}, opened.digest)


def _table(path: Path, like: Json, level: str) -> Documents:
    wanted = [like["text"], like["other"]] if level == "pair" else [like["text"]]
    names = {"pair": ("text", "other"), "set": ("query",)}.get(level, ("text",))
    rows = _rows(path, like)
    found = _columns(path, like, rows, wanted)
    payload: dict[str, Any] = {}
    for name, column in zip(names, found, strict=True):
        cells = [row.get(column) for row in rows]
        bare = [i for i, v in enumerate(cells) if not isinstance(v, str) or not v.strip()]
        if bare:
            raise DataError(
                f"{path.name}, column {column!r} has no text in {numbered(bare)}. "
                "Fill it in, or delete the row."
            )
        payload[name] = Texts.of(map(str, cells))
    return Documents(payload, digest=_digest(path))


def _rows(path: Path, like: Json) -> list[Row]:
    """All rows; where the training data had names for its columns, this needs them too."""
    if not path.is_file() or suffix_of(path) not in TABLES:
        raise DataError(
            f"{path.name} is no table. Give {_wanted(like['level'])} ({', '.join(TABLES)})."
        )
    tally = Tally()
    known = [n for n in like.get("columns", ()) if n]
    needed = [n for n in (like["text"], like.get("other")) if n]
    opened = rows_of(path, path.name, tally, like["encoding"], known=known)
    rows = list(opened.rows)
    if (
        not like.get("header", True)
        and opened.header
        and not set(needed) & set(rows[0] if rows else ())
    ):
        tally = Tally()
        rows = list(rows_of(path, path.name, tally, like["encoding"], header=False).rows)
    if tally.counts["cells"] or tally.counts["line"]:
        kind = "cells" if tally.counts["cells"] else "line"
        raise DataError(
            f"{tally.first[kind]}: the line has other cells than the first, or is no JSON object. "
            "Mend it, or write one text on each line of a .txt file."
        )
    if not rows:
        raise DataError(f"{path.name} has no rows to predict. Give a table with at least one.")
    return rows


def _columns(
    path: Path, like: Json, rows: Sequence[Row], wanted: Sequence[str | None]
) -> list[str]:
    """The columns by name; where training data had none, by position; a single one is the text."""
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    if all(name in columns for name in wanted) and like.get("header", True):
        return [str(name) for name in wanted]
    if len(columns) == len(wanted):
        return list(columns)
    if not like.get("header", True):
        order = list(like["columns"])
        if len(columns) == len(order) - 1 and like["label"] in order:
            order.remove(like["label"])
        if len(columns) == len(order):
            return [columns[order.index(str(name))] for name in wanted]
    seen = Seen.of(rows[:SNIFFED_LINES], path.name, True)
    if len(wanted) == 1 and (named := seen.among(TEXT_NAMES, columns)):
        return [named]
    absent = next((str(n) for n in wanted if n is not None and n not in columns), "text")
    raise DataError(
        f"{path.name} has no column {absent!r}, which the model reads. "
        f"{did_you_mean(absent, columns)}"
    )


def _words(path: Path, like: Json) -> Documents:
    files = [path] if path.is_file() else list(text_files(path))
    sentences: list[tuple[str, ...]] = []
    for file in files:
        sentences += _sentences(file, like)
    if not sentences:
        raise DataError(f"{path.name} has no words. Give {_wanted('token')}.")
    digest = hashlib.sha256(repr([len(s) for s in sentences]).encode())
    for words in sentences:
        digest.update("\0".join(words).encode("utf-8", "surrogatepass"))
    return Documents({"words": words_column(sentences)}, digest=digest.hexdigest())


def _sentences(path: Path, like: Json) -> list[tuple[str, ...]]:
    if suffix_of(path) in WORD_SUFFIXES or holds_words(path) or _one_on_each_line(path):
        return read_sentences(path, path.name, Tally(), like["encoding"], tagged=False).words
    if suffix_of(path) not in TABLES:
        texts = "".join(blocks(path, Tally(), path.name, like["encoding"])).split("\n")
        return [tuple(text.split()) for text in texts if text.strip()]
    rows = _rows(path, like)
    seen = Seen.of(rows[:SNIFFED_LINES], path.name, True)
    lists = next((n for n in (like["text"], *WORDS_NAMES) if seen.lists(n)), None)
    (column,) = [lists] if lists else _columns(path, like, rows, [like["text"]])
    cells = [row.get(column) for row in rows]
    made = [tuple(c.split()) if isinstance(c, str) else tuple(map(str, c or ())) for c in cells]
    if bare := [i for i, words in enumerate(made) if not words]:
        raise DataError(
            f"{path.name}, column {column!r} has no words in {numbered(bare)}. "
            "Fill it in, or delete the row."
        )
    return made


def _one_on_each_line(path: Path) -> bool:
    """Whether a text file is words, blank lines between the sentences."""
    if suffix_of(path) != ".txt":
        return False
    text = next(blocks(path, Tally(), path.name), "").strip()
    lines = text.split("\n", SNIFFED_LINES)[:SNIFFED_LINES]
    return "" in map(str.strip, lines) and all(len(line.split()) < 2 for line in lines)


def _digest(path: Path) -> str:
    return hashlib.sha256(b"rows" + path.read_bytes()).hexdigest()


def _kind(error: NotText) -> str:
    return WORDS[error.kind].format(n="a", files="file").removesuffix(" skipped")


def _wanted(level: str) -> str:
    return {
        "pair": "a table with both texts of each pair",
        "token": "words with blank lines between sentences, a table, or lines of text",
        "set": "a table of queries, or lines of text",
    }.get(level, "a table of texts, lines of text, or a folder")
