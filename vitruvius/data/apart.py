"""A corpus without the texts that a model will be measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vitruvius.contracts import Documents
from vitruvius.data.errors import DataError
from vitruvius.techniques.transforms.near_duplicates import shingles, words_of

COLUMNS = ("text", "other", "query", "positive")
SLACK = 4.0  # how many times longer than all others, over ``near``, a text may be and be compared
WORDS = 5  # of an n-gram, as where near duplicates are kept in one part of a split


def without(corpus: Documents, others: Sequence[Documents], near: float | None = 0.8) -> Documents:
    """The texts of a corpus that none of the others (validation, test; of any level) repeats.

    Left out is what equals one of theirs but for white space or has, with ``near`` not None, at
    least this share of word 5-grams in common with one: |A and B| / |A or B|, counted and not
    estimated. Of pairs and queries both texts count, each for itself; words count joined. How many
    were left out is the difference in length. A text is not left out for holding one of theirs
    among much else.

    Takes one pass over the corpus, and memory for the others alone: some 100 bytes for each of
    their 5-grams.
    """
    if near is not None and not 0 < near <= 1:
        raise DataError(f"without: near is a share above 0 and at most 1, or None; got {near}.")
    equal: set[bytes] = set()
    texts = []
    for text in (text for documents in others for text in _texts(documents)):
        if (key := _key(text)) not in equal:
            equal.add(key)
            texts.append(text)
    known = _Known(texts, near) if near is not None and texts else None
    column = corpus.payload["text"]
    kept = []
    for row in range(len(corpus)):
        text = str(column[row])
        if _key(text) not in equal and not (known and known.has(text)):
            kept.append(row)
    return corpus.take(np.array(kept, np.int64))


class _Known:
    """Texts by their n-grams of words: finds one that is like a given text, if there is any.

    A and B are alike at ``near`` only where at most (1 - near) |A| of A's n-grams are not in B. So
    of more than that many, taken evenly from A, one must be in some text: this is looked at first
    and nearly always settles it. (A text that repeats itself may have fewer different ones.)
    """

    def __init__(self, texts: Sequence[str], near: float) -> None:
        self.near = near
        self.longest = max(map(len, texts)) * SLACK / near
        self.seen = {hash(one) for text in texts for one in _grams(words_of(text), 1)}
        found = [shingles(text, WORDS) for text in texts]
        self.sizes = np.array([len(one) for one in found], np.int64)
        held = np.concatenate(found)
        order = np.argsort(held, kind="stable")
        self.shingles = held[order]
        self.owners = np.repeat(np.arange(len(found)), self.sizes)[order]

    def has(self, text: str) -> bool:
        """Whether one of the texts is like this one."""
        if len(text) > self.longest:
            return False
        words = words_of(text)
        count = max(len(words) - WORDS + 1, 1)
        looked_at = int((1 - self.near) * count) + 1
        step = max(count // looked_at, 1)
        if not any(hash(one) in self.seen for one in _grams(words, step)):
            return False
        found = shingles(text, WORDS)
        first = np.searchsorted(self.shingles, found, "left")
        last = np.searchsorted(self.shingles, found, "right")
        owners = [self.owners[a:b] for a, b in zip(first, last, strict=True)]
        rows, common = np.unique(np.concatenate(owners), return_counts=True)
        either = self.sizes[rows] + len(found) - common
        return bool((common >= self.near * either - 1e-9).any())


def _grams(words: list[str], step: int) -> Iterator[tuple[str, ...]]:
    """Every so many-th n-gram; of a short text its all."""
    for start in range(0, max(len(words) - WORDS + 1, 1), step):
        yield tuple(words[start : start + WORDS])


def _texts(documents: Documents) -> Iterator[str]:
    payload: Any = documents.payload
    for name in COLUMNS:
        if name in payload:
            yield from (str(payload[name][row]) for row in range(len(documents)))
    if "words" in payload:
        yield from (" ".join(payload["words"][row]) for row in range(len(documents)))


def _key(text: str) -> bytes:
    bare = " ".join(text.split()).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(bare, digest_size=16).digest()
