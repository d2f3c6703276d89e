"""Where words begin, for tokenizers that know none of their own."""

from __future__ import annotations

import numpy as np

from vitruvius.contracts import Array

LETTER, SPACE, MARK = 0, 1, 2


def _classes() -> Array:
    """Of the ASCII characters; all others count as letters."""
    found = np.full(128, MARK, np.uint8)
    for code in range(128):
        if chr(code).isalnum() or chr(code) == "_":
            found[code] = LETTER
        elif chr(code).isspace():
            found[code] = SPACE
    return found


CLASSES = _classes()


def begins(codes: Array) -> Array:
    """Whether a word begins at each byte or code point; uint8 [T].

    A word is a run of letters and digits, a run of white space, or a single other mark.
    """
    kinds = np.where(codes < 128, CLASSES[np.minimum(codes, 127)], LETTER)
    starts = np.ones(len(codes), np.uint8)
    starts[1:] = (kinds[1:] != kinds[:-1]) | (kinds[1:] == MARK)
    return starts


def numbered(starts: Array) -> tuple[int, ...]:
    """The word of each token, from 0, of where words begin."""
    return tuple((np.cumsum(starts, dtype=np.int64) - 1).tolist())
