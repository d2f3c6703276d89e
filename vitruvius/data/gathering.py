"""Rows of labelled texts, gathered from the files of one set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.contracts import Array, Json
from vitruvius.data.columns import Chosen, Given, Level, Seen, choose_columns
from vitruvius.data.corpora import STRINGS
from vitruvius.data.encodings import NotText
from vitruvius.data.errors import DataError, did_you_mean
from vitruvius.data.loaded import part_of
from vitruvius.data.parts import LABELLED, PartFile
from vitruvius.data.rows import Row, Rows, labelled_lines, looks_labelled, rows_of, suffix_of
from vitruvius.data.sentences import holds_words, read_sentences
from vitruvius.data.tally import WORDS, Tally

SNIFFED = 1000  # rows by which the columns are told


@dataclass(eq=False)
class Gathered:
    """What the rows hold, column by column. The first file says what kind all of them are."""

    given: Given
    keyed: bool = False
    """Whether the rows may name texts of a corpus: then a column of text must be called so."""
    tally: Tally = field(default_factory=Tally)
    chosen: Chosen | None = None
    """None where the files are of words with tags."""
    header: bool = True
    columns: tuple[str, ...] = ()
    level: Level = "item"
    said: str = ""
    """The first file and the column of its answers, for messages."""
    texts: list[Any] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    splits: list[int | None] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    grouped: bool = False
    notes: list[str] = field(default_factory=list)

    def read(self, file: PartFile) -> None:
        """All rows of a file. Raises DataError with what is wrong, and NoText as columns do."""
        path, where = file.path, file.path.name
        words = holds_words(path)
        if self.said and words != (self.level == "token" and self.chosen is None):
            raise DataError(f"{where} is of another kind than {self.said}. Write both in one.")
        try:
            if words:
                self._sentences(path, where, file.part)
            else:
                self._rows(path, where, file.part)
        except NotText as e:
            told = WORDS[e.kind].format(n="a", files="file").removesuffix(" skipped")
            raise DataError(
                f"{where} is {told}, no labelled text. Give one of {', '.join(LABELLED)} (.gz too)."
            ) from e

    def known(self) -> dict[str, Array]:
        """Attributes other than the label."""
        found: dict[str, Array] = {}
        if self.splits and None not in self.splits:
            found["split"] = np.array(self.splits, np.int8)
        if self.sources:
            found["source"] = np.array(self.sources, STRINGS)
        if self.grouped:
            numbers: dict[Any, int] = {}
            codes = [numbers.setdefault(g, len(numbers)) for g in self.groups]
            found["group"] = np.array(codes, np.int64)
        return found

    def facts(self) -> Json:
        """What new inputs look like."""
        chosen = self.chosen
        return {
            "level": self.level,
            "text": chosen.text if chosen else None,
            "other": chosen.other if chosen else None,
            "label": chosen.label if chosen else None,
            "header": self.header,
            "columns": list(self.columns),
            "unit": "line",
            "encoding": None,
        }

    def cut(self, most: int) -> None:
        """Sentences of more words than this become several."""
        if all(len(words) <= most for words in self.texts):
            return
        rows: list[int] = []
        texts, labels = [], []
        for row, words in enumerate(self.texts):
            for start in range(0, len(words), most):
                texts.append(words[start : start + most])
                labels.append(self.labels[row][start : start + most])
                rows.append(row)
            if len(words) > most:
                self.tally.add("cut", f"sentence {row + 1}")
        self.texts, self.labels = texts, labels
        for name in ("splits", "sources", "groups"):
            held = getattr(self, name)
            setattr(self, name, [held[row] for row in rows] if held else held)

    def _sentences(self, path: Path, where: str, part: int | None) -> None:
        found = read_sentences(path, where, self.tally)
        self.level, self.said = "token", self.said or where
        self.texts += found.words
        self.labels += found.tags
        self.groups += [(where, number) for number in found.documents]
        self.grouped |= len(set(found.documents)) > 1
        self.splits += [part] * len(found.words)

    def _rows(self, path: Path, where: str, part: int | None) -> None:
        found = self._opened(path, where)
        first = list(islice(found.rows, SNIFFED))
        if not first:
            said = " ".join(self.tally.notes())
            raise DataError(f"{where} holds no rows. {said} Give a table with some.")
        seen = Seen.of(first, where, found.header)
        if self.chosen is None:
            self.chosen = choose_columns(seen, self.given, self.keyed)
            self.header, self.columns, self.level = found.header, seen.columns, self.chosen.level
            named = f", column {self.chosen.label!r}" if self.chosen.label else ""
            self.said = f"{where}{named}"
            self.notes += self.chosen.notes
        elif part and self.chosen.label and not seen.values_of(self.chosen.label):
            self.notes.append(f"{where} has no {self.chosen.label!r}: left out.")
            return
        needed = (self.chosen.text, self.chosen.other, self.chosen.source)
        for name in filter(None, needed):
            if name not in seen.columns:
                raise DataError(
                    f"{where} has no column {name!r}, as {self.said} has. "
                    f"{did_you_mean(name, seen.columns)}"
                )
        before = len(self.texts)
        self._take(chain(first, found.rows), self.chosen, where, part)
        if len(self.texts) == before:
            raise DataError(
                f"{where}, column {self.chosen.text!r} holds no text. "
                f"{' '.join(self.tally.notes())} Fill it in, or name another: text=..."
            )

    def _opened(self, path: Path, where: str) -> Rows:
        if suffix_of(path) == ".txt":
            if not looks_labelled(path):
                raise DataError(
                    f"{where} holds no labelled texts that can be told. Write a table (.csv, "
                    ".tsv, .jsonl), lines of a label, a space and a text, or a word and its tag "
                    "on each line."
                )
            if looks_labelled(path) == "lines":
                return labelled_lines(path, where, self.tally)
        header = None if self.chosen is None else self.header
        return rows_of(path, where, self.tally, header=header, known=self.given.named)

    def _take(self, rows: Iterable[Row], chosen: Chosen, where: str, part: int | None) -> None:
        self.grouped = "group" in self.columns
        for row in rows:
            text, label = row.get(chosen.text), None
            if chosen.label is not None:
                label = row.get(chosen.label)
                if isinstance(label, str):
                    label = label.strip() or None
            if chosen.level == "token":
                words, tags = _words(text, label)
                if words is None:
                    self.tally.add("tags", where)
                    continue
                text, label = words, tags
            elif not isinstance(text, str):
                self.tally.add("untexted", where)
                continue
            elif not text.strip():
                self.tally.add("empty", where)
                continue
            elif isinstance(label, (list, dict)):
                raise DataError(
                    f"{where}, column {chosen.label!r} holds {label!r:.40}. "
                    "Give each text one label: a word or a number."
                )
            if chosen.other is not None:
                second = row.get(chosen.other)
                if not isinstance(second, str) or not second.strip():
                    self.tally.add("untexted", where)
                    continue
                self.others.append(second)
            self.texts.append(text)
            if chosen.label is not None:
                self.labels.append(label)
            self.splits.append(part_of(str(row.get("split", ""))) if part is None else part)
            if chosen.source is not None:
                self.sources.append(str(row.get(chosen.source, "")))
            if self.grouped:
                self.groups.append(row.get("group"))


def _words(words: Any, tags: Any) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """As tuples, None where they are not lists of strings, as many of both."""
    if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
        return None, ()
    if not words or not all(isinstance(w, str) for w in chain(words, tags)):
        return None, ()
    return tuple(words), tuple(tags)
