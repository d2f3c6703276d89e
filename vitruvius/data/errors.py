"""What is wrong with a user's data, in one line: what, where, how to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class DataError(ValueError):
    """Data that cannot be used as given. The message is one line and says how to mend it."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'price'?``, or what there is where nothing is near."""
    names = list(known)
    lowered = {n.lower(): n for n in reversed(names)}
    near = [lowered[n] for n in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    return f"There is {listed(names)}." if names else ""


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, cut after the first few."""
    shown = ", ".join(repr(str(n)) for n in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def numbered(rows: Sequence[int], word: str = "row", most: int = 5) -> str:
    """``rows 3, 8, 9 and 4 more`` of positions that count from 0."""
    shown = ", ".join(str(int(r) + 1) for r in rows[:most])
    more = f" and {len(rows) - most:,} more" if len(rows) > most else ""
    return f"{word}{'s' * (len(rows) > 1)} {shown}{more}"
