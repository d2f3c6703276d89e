"""Lower case chooses: functions typed to return what they decide to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vitruvius.space.domains import Choice, Integers, Real, orders
from vitruvius.space.structure import Derived, Grammar, Where

T = TypeVar("T")


def one_of(*options: T, name: str | None = None, label: str | None = None) -> T:
    """One of the options. Strictly monotone numbers are ordered, all else is categorical."""
    return Choice(options, name=name, label=label)  # type: ignore[return-value]


def ordered(*options: T, name: str | None = None, label: str | None = None) -> T:
    """One of the options, of which neighbours are alike, such as 'small', 'medium', 'large'."""
    return Choice(options, word="ordered", name=name, label=label)  # type: ignore[return-value]


def optional(option: T, *, name: str | None = None, label: str | None = None) -> T:
    """The option or None; as an item of a tuple, the option or nothing."""
    return Choice((None, option), word="optional", name=name, label=label)  # type: ignore[return-value]


def either_order(*items: T, name: str | None = None, label: str | None = None) -> T:
    """All items, in any order, spliced into the tuple where this stands."""
    if len(items) > 7:
        raise ValueError(
            f"either_order takes at most 7 items (5,040 orders); got {len(items)}. "
            "Put items whose order is settled into one node."
        )
    return Choice(orders(items), word="either_order", name=name, label=label)  # type: ignore[return-value]


def integers(
    low: int, high: int, *, log: bool = False, name: str | None = None, label: str | None = None
) -> int:
    """A whole number from low to high, both included."""
    return Integers(low, high, log=log, name=name, label=label)  # type: ignore[return-value]


def uniform(low: float, high: float, *, name: str | None = None, label: str | None = None) -> float:
    """A real number between low and high."""
    return Real(low, high, name=name, label=label)  # type: ignore[return-value]


def log_uniform(
    low: float, high: float, *, name: str | None = None, label: str | None = None
) -> float:
    """A real number between low and high, uniform in its logarithm."""
    return Real(low, high, log=True, name=name, label=label)  # type: ignore[return-value]


def derived(f: Callable[..., T], *reads: str) -> T:
    """f of named decisions: ``derived(half, '@width')``. An option that is a node arrives as its
    label, a name that is not active in this design as None. A ValueError of f is Infeasible."""
    return Derived(f, reads)  # type: ignore[return-value]


def where(f: Callable[..., bool], *reads: str) -> Any:
    """A condition that each design must meet: ``where(f, '@a', '@b')`` as an item of any tuple."""
    return Where(f, reads)


def grammar(start: str, depth: int, **rules: T) -> T:
    """Bounded recursion: rules refer to each other by ``Ref('rule')``, at most depth deep."""
    return Grammar(start, depth, rules)  # type: ignore[return-value]
