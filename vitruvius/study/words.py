"""Numbers and durations as a person reads them, the same in the terminal and the report."""

from __future__ import annotations

import math


def score_word(value: float | None) -> str:
    """A score with four significant digits: ``0.9861``, ``12.34``; ``-`` where there is none."""
    if value is None or math.isnan(value):
        return "-"
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.3e}"
    digits = 4 if abs(value) < 10 else max(0, 4 - len(str(int(abs(value)))))
    return f"{value:.{digits}f}"


def share_word(share: float) -> str:
    """Where a score is of a rung: `` at 11 % of the training``; empty for a whole training."""
    return "" if share >= 1 else f" at {100 * share:.2g} % of the training"


def count_word(value: float | None, unit: str = "") -> str:
    """A count in thousands, millions, ...: ``12.3 k``, ``4.50 M``."""
    if value is None:
        return "-"
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.3g} {unit}".rstrip() if value % 1 else f"{int(value)} {unit}".rstrip()


def seconds_word(value: float | None) -> str:
    """A duration: ``0.42 s``, ``8.1 s``, ``2 min 05 s``, ``3 h 20 min``."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value:.2f} s"
    if value < 10:
        return f"{value:.1f} s"
    if value < 59.5:
        return f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plural(count: int, word: str, many: str = "") -> str:
    """``1 trial``, ``12 trials``."""
    return f"{count:,} {word if count == 1 else many or word + 's'}".replace(",", " ")
