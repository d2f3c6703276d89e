"""What a tokenizer learns from: a sample of the texts that depends on nothing but the texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vitruvius.contracts import Documents, Tokenizer

SAMPLE = 16_000_000
GOLDEN = 0.618033988749895


def sampled(documents: Documents, characters: int) -> Iterator[str]:
    """Texts from all over the documents, until there are so many characters; the last is cut.

    Row i comes at place ((i + 1) * golden ratio) mod 1: every beginning of this order is spread
    evenly.
    """
    column = documents.payload["text"]
    order = np.argsort(np.mod(np.arange(1, len(documents) + 1) * GOLDEN, 1.0), kind="stable")
    left = characters
    for row in order.tolist():
        if left <= 0:
            return
        text = str(column[row])
        yield text[:left]
        left -= len(text)


def need_text(tokenizer: Tokenizer, found: int) -> None:
    """Raises ValueError where there was nothing to learn from."""
    if not found:
        raise ValueError(
            f"{type(tokenizer).__name__} needs texts to learn from; all of them are empty. "
            "Give documents with text."
        )
