"""Files of words with tags: a word on each line, its tag last, blank lines between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitruvius.contracts import Array
from vitruvius.data.encodings import NotText, blocks, readable
from vitruvius.data.errors import DataError
from vitruvius.data.parts import WORDS
from vitruvius.data.rows import suffix_of
from vitruvius.data.tally import Tally

DOCUMENT = "-DOCSTART-"
LOOKED_AT = 2000  # lines
GAP = re.compile(r"[ \t]+")
TAG = re.compile(r"O|[BIESLUM]-\S+")


@dataclass(eq=False)
class Sentences:
    """Words of each sentence, their tags, and the number of the document that each is of."""

    words: list[tuple[str, ...]] = field(default_factory=list)
    tags: list[tuple[str, ...]] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)


def holds_words(path: Path, encoding: str | None = None) -> bool:
    """Whether a file is of words with tags: by its suffix, else by what its lines look like.

    They do where each is one word and one tag and blank lines part them, or all tags are as BIO
    has them.
    """
    if suffix_of(path) in WORDS:
        return True
    if suffix_of(path) not in (".tsv", ".txt"):
        return False
    try:
        block = next(blocks(path, Tally(), path.name, encoding), "")
    except NotText:
        return False
    lines = [line.rstrip() for line in block.split("\n", LOOKED_AT)[:LOOKED_AT]]
    filled = [line for line in lines if line and not line.startswith(DOCUMENT)]
    cells = [_cells(line, any("\t" in one for one in filled)) for line in filled]
    if len({len(c) for c in cells}) != 1 or len(cells[0]) < 2:
        return False
    if any(" " in c[0].strip() or " " in c[-1].strip() for c in cells):
        return False
    parted = "" in block.strip("\n").split("\n", LOOKED_AT)[:LOOKED_AT]
    return parted or all(TAG.fullmatch(c[-1].strip()) for c in cells)


def read_sentences(
    path: Path, where: str, tally: Tally, encoding: str | None = None, tagged: bool = True
) -> Sentences:
    """The first column are words and, where they are ``tagged``, the last their tags.

    Columns are cut at tabs, or at white space in a file without any. Lines of -DOCSTART- begin a
    document. A sentence with a line of another number of columns than the first is skipped.
    """
    found = Sentences()
    seen: dict[str, str] = {}  # one string for a word, however often it comes
    document = 0
    for number, lines in _blocks(path, where, tally, encoding):
        if lines[0].startswith(DOCUMENT):
            document += 1
            lines = lines[1:]
            if not lines:
                continue
        tabs = any("\t" in line for line in lines)
        cells = [_cells(line, tabs) for line in lines]
        width = len(cells[0])
        if tagged and all(len(c) == 1 for c in cells) and not found.words:
            raise DataError(
                f"{where}, line {number}: {lines[0][:40]!r} has one column. Each line needs a word "
                "and, after a tab or space, its tag."
            )
        if any(len(c) != width or not c[0] for c in cells) or (tagged and width < 2):
            tally.add("tags", f"{where}, line {number}")
            continue
        found.words.append(tuple([seen.setdefault(c[0], c[0]) for c in cells]))
        found.documents.append(document)
        if tagged:
            found.tags.append(tuple([seen.setdefault(c[-1], c[-1]) for c in cells]))
    return found


def words_column(sentences: Iterable[tuple[str, ...]]) -> Array:
    """Tuples of words as an array of objects [N]."""
    held = list(sentences)
    column = np.empty(len(held), object)
    for row, words in enumerate(held):  # an assignment of all would look for axes in the tuples
        column[row] = words
    return column


def _blocks(
    path: Path, where: str, tally: Tally, encoding: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Lines without a blank one between them, and the number of the first."""
    held: list[str] = []
    number = 0
    for number, line in enumerate(readable(blocks(path, tally, where, encoding)), 1):
        line = line.rstrip("\n")
        if line.strip():
            held.append(line)
        elif held:
            yield number - len(held), held
            held = []
    if held:
        yield number + 1 - len(held), held


def _cells(line: str, tabs: bool) -> list[str]:
    return [cell.strip(" ") for cell in line.split("\t")] if tabs else GAP.split(line.strip(" \t"))
