"""What was skipped or mended while reading, counted, for a person to know."""

from __future__ import annotations

from collections import Counter

WORDS = {
    "binary": "{n} binary {files} skipped",
    "empty": "{n} without any text skipped",
    "unreadable": "{n} that cannot be read skipped",
    "gzip": "{n} broken gzip {files} skipped",
    "column": "{n} {files} without a column of text skipped",
    "table": "{n} {files} that are no such table skipped",
    "parquet": "{n} broken Parquet {files} skipped",
    "line": "{n} broken JSON {lines} skipped",
    "cells": "{n} CSV {lines} with too few cells skipped",
    "syntax": "{n} {files} that are no Python skipped",
    "bare": "{n} {lines} without a label or a text skipped",
    "tags": "{n} {sentences} whose words and tags are not as many skipped",
    "cut": "{n} {sentences} of more than 1,000 words cut",
    "untexted": "{n} {lines} whose text is missing or no string skipped",
    "utf-16": "{n} {files} in UTF-16 or UTF-32 read",
    "latin": "{n} {files} not in UTF-8: read as Latin-1",
    "mixed": "{n} {files} of UTF-8 and Latin-1 mixed: each line read as what it is",
    "zero": "{n} {files} with zero bytes: these are left out",
    "surrogate": "{n} {lines} with halves of characters mended",
    "long": "{n} {files} longer than 16 MB cut into several documents",
    "time": "{n} {lines} without a time that can be read",
}


class Tally:
    """Counts by kind, with where the first one was."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        self.first.setdefault(kind, where)

    def notes(self) -> tuple[str, ...]:
        """A line for each kind."""
        return tuple(self._said(kind) + "." for kind in WORDS if self.counts[kind])

    def _said(self, kind: str) -> str:
        n = self.counts[kind]
        many = "s" * (n > 1)
        named = {f"{word}s": f"{word}{many}" for word in ("file", "line", "sentence")}
        words = WORDS[kind].format(n=f"{n:,}", **named)
        return f"{words} ({'first ' if n > 1 else ''}{self.first[kind]})"
