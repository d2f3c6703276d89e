"""Which columns of a table of texts hold what: those named, else told by names, then by values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vitruvius.data.errors import DataError, did_you_mean, listed
from vitruvius.data.records import LEAST_LENGTH, TEXT_NAMES
from vitruvius.data.rows import Row
from vitruvius.data.tables import COUNTER, TARGET_NAMES

Level = Literal["item", "pair", "set", "token"]

ANSWER_NAMES = (*TARGET_NAMES, "gold_label", "score", "similarity")
LABEL_NAMES = (*ANSWER_NAMES, "category", "topic", "intent", "sentiment", "rating", "labels")
PAIR_NAMES = (
    ("text_a", "text_b"), ("text1", "text2"), ("text_1", "text_2"), ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"), ("premise", "hypothesis"),
    ("question1", "question2"), ("text", "other"),
)  # fmt: skip
QUERY_NAMES = ("query", "question", "docstring", "anchor")
POSITIVE_NAMES = ("positive", "answer", "code", "document", "passage", "function")
WORDS_NAMES, TAGS_NAMES = ("tokens", "words"), ("tags", "ner_tags", "labels", "pos_tags")
NO_TEXT = re.compile(r"\s*([-+.\d][\d.,eE+-]*|\S+\.\w{1,8}|\w+://\S+)\s*")  # numbers and paths
LONGEST_LABEL = 60  # characters, of a column that is told to be the label by its values
MOST_CLASSES = 0.5  # of the rows, of such a column


class NoText(DataError):
    """A table without any column of text."""


@dataclass(frozen=True)
class Given:
    """Names of columns as the user gave them; None: to be found."""

    text: str | None = None
    label: str | None = None
    other: str | None = None
    source: str | None = None

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(n for n in (self.text, self.label, self.other, self.source) if n)


@dataclass(frozen=True)
class Chosen:
    """The columns that are read. ``text`` is of the query or the words too."""

    level: Level
    text: str
    other: str | None = None
    """The second text, or the positive."""
    label: str | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What the first rows of a table show of its columns."""

    where: str
    header: bool
    rows: Sequence[Row]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], where: str, header: bool) -> Seen:
        return cls(where, header, rows, tuple(dict.fromkeys(n for row in rows for n in row)))

    def among(self, names: Sequence[str], free: Sequence[str]) -> str | None:
        """The first of these names that a free column has, in any case of letters."""
        lowered = {name.lower(): name for name in reversed(free)}
        return next((lowered[name] for name in names if name in lowered), None)

    def values_of(self, name: str) -> list[Any]:
        """The cells that are not empty."""
        found = (row.get(name) for row in self.rows)
        return [v for v in found if v is not None and not (isinstance(v, str) and not v.strip())]

    def length(self, name: str) -> float:
        """Characters of a cell on average; 0 where most are no words."""
        words = [v for v in self.values_of(name) if isinstance(v, str) and not NO_TEXT.fullmatch(v)]
        return sum(map(len, words)) / len(self.rows) if 2 * len(words) > len(self.rows) else 0.0

    def lists(self, name: str | None) -> bool:
        """Whether the column holds lists."""
        return name is not None and any(isinstance(v, list) for v in self.values_of(name))

    def labels(self, name: str) -> bool:
        """Whether the column could be classes, or numbers that do not count the rows."""
        values = self.values_of(name)
        if len(values) < len(self.rows) or not all(
            isinstance(v, (str, int, float)) for v in values
        ):
            return False
        if re.fullmatch(r".*[_\W]id", name.lower()) or (self.header and COUNTER.fullmatch(name)):
            return False
        words = list(map(str, values))
        few = len(set(words)) <= max(2, MOST_CLASSES * len(words))
        if all(map(_is_number, words)):
            return few or not all(float(w).is_integer() for w in words)
        return few and max(map(len, words)) <= LONGEST_LABEL


def choose_columns(seen: Seen, given: Given, keyed: bool = False) -> Chosen:
    """What kind of data it is, and which of its columns are read.

    Lists of words with lists of tags: "token". Two texts and a label: "pair". A query and its
    positive without a label: "set". A text and a label: "item". ``keyed``:
    without a name that says text, a column is none. Raises NoText, or DataError.
    """
    for name in given.named:
        if name not in seen.columns:
            hint = "" if seen.header else " The file has no line of names."
            raise DataError(
                f"{seen.where} has no column {name!r}.{hint} {did_you_mean(name, seen.columns)}"
            )
    if twice := {n for n in given.named if given.named.count(n) > 1}:
        raise DataError(f"{seen.where}: {twice.pop()!r} is given for two things. Name two columns.")
    free = [n for n in seen.columns if n not in given.named and n.lower() not in ("split", "group")]
    words = given.text or seen.among(WORDS_NAMES, free)
    if words is not None and seen.lists(words):
        return _words(seen, given, words, free)
    if two := _two_texts(seen, given, free):
        return two
    return _one_text(seen, given, free, keyed)


def _words(seen: Seen, given: Given, words: str, free: Sequence[str]) -> Chosen:
    tags = given.label or seen.among(TAGS_NAMES, [n for n in free if seen.lists(n)])
    if tags is None or not seen.lists(tags):
        raise DataError(
            f"{seen.where}: column {words!r} holds lists of words, and none called "
            f"{' or '.join(TAGS_NAMES[:2])} their tags. Name it: label=... "
            f"There is {listed(seen.columns)}."
        )
    return Chosen("token", words, None, tags, given.source)


def _two_texts(seen: Seen, given: Given, free: Sequence[str]) -> Chosen | None:
    """A pair or a set, where there are two columns of text for it."""
    texts = [n for n in free if seen.length(n)]
    if given.other and not given.text:
        first = _text(seen, free)
        return _answered(seen, given, first, given.other, free)
    if given.text and given.other:
        return _answered(seen, given, given.text, given.other, free)
    if given.text:
        return None
    for names in PAIR_NAMES:
        one, two = (seen.among((name,), texts) for name in names)
        if one and two:
            return _answered(seen, given, one, two, free)
    query, positive = seen.among(QUERY_NAMES, texts), seen.among(POSITIVE_NAMES, texts)
    if query and positive:
        return _answered(seen, given, query, positive, free)
    long = [n for n in texts if seen.length(n) >= LEAST_LENGTH and not seen.labels(n)]
    others = [n for n in free if n not in long]
    if not seen.header and len(long) == 2 and (given.label or any(map(seen.labels, others))):
        return _answered(seen, given, long[0], long[1], free)
    return None


def _answered(seen: Seen, given: Given, one: str, two: str, free: Sequence[str]) -> Chosen:
    left = [n for n in free if n not in (one, two)]
    label = given.label or seen.among(ANSWER_NAMES, left)
    notes: tuple[str, ...] = ()
    if label is None and not seen.header:
        label, notes = _by_values(seen, left)
    if label is None:
        note = f"{seen.where}: no label, so {two!r} is what is looked for with {one!r}."
        return Chosen("set", one, two, None, given.source, (note,))
    return Chosen("pair", one, two, label, given.source, notes)


def _one_text(seen: Seen, given: Given, free: Sequence[str], keyed: bool) -> Chosen:
    label, notes = given.label or seen.among(LABEL_NAMES, free), ()
    if label is None:
        named = [n for n in free if re.fullmatch(r".*[_\W](label|class|target)", n.lower())]
        label = named[0] if len(named) == 1 and seen.labels(named[0]) else None
    left = [n for n in free if n != label]
    text = given.text or _text(seen, left, alone=label is not None, keyed=keyed)
    if label is None:
        label, notes = _by_values(seen, [n for n in free if n != text])
    if label is None:
        raise DataError(
            f"{seen.where}: which column is the label? It has {listed(seen.columns)}. "
            "Name it: label=..."
        )
    return Chosen("item", text, None, label, given.source, notes)


def _text(seen: Seen, free: Sequence[str], alone: bool = False, keyed: bool = False) -> str:
    """The column of text; ``alone``: short words count where they are the only ones."""
    texts = [n for n in free if seen.length(n)]
    if found := seen.among(TEXT_NAMES, texts):
        return found
    longest = max(texts, key=seen.length, default=None)
    least = 0.0 if alone and (len(texts) == 1 or not seen.header) else LEAST_LENGTH
    if longest is not None and seen.length(longest) >= least and not keyed:
        return longest
    empty = [n for n in free if n.lower() in TEXT_NAMES and not seen.values_of(n)]
    if empty:
        raise NoText(f"{seen.where}, column {empty[0]!r} is empty. Fill in its texts.")
    raise NoText(
        f"{seen.where} has no column of text; it has {listed(seen.columns)}. "
        "Name the column, such as text='body', or give a table that holds texts."
    )


def _by_values(seen: Seen, free: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The only column that could be a label; where columns have no names, the first."""
    found = [n for n in free if seen.labels(n)]
    if not found or (len(found) > 1 and seen.header):
        return None, ()
    if len(found) == 1:
        return found[0], ()
    note = f"{seen.where}: {found[0]} is read as the label ({listed(found[1:])} could be, too)."
    return found[0], (note,)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True
