"""Where a stage stands still on its way, counted in rounds or epochs."""

from __future__ import annotations


def rung_of(until: int | None, whole: int) -> int | None:
    """The rung at which a stage ends short of its whole way; None where it goes to its end."""
    return until if until is not None and until < whole else None


def until_of(share: float, whole: int) -> int | None:
    """The rung at a share of the whole way, at least the first; None where that is all of it."""
    return rung_of(max(1, round(share * whole)), whole)
