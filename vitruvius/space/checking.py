"""What is wrong with a space as a whole: refused when it is compiled, before any decision."""

from __future__ import annotations

import difflib
from typing import Any

from vitruvius.space.domains import Domain, names_in
from vitruvius.space.node import Node, Open
from vitruvius.space.operations import base
from vitruvius.space.structure import Derived, Grammar, Ref, Repeat, Restricted, Where, parts


def check_space(root: Any) -> frozenset[str]:
    """All addresses that derived values and conditions read.

    Raises where a name that is read stands nowhere, where numbers of copies wait for themselves,
    and where a part stands in a place that it cannot stand in.
    """
    names = names_in(root)
    reads: set[str] = set()

    def visit(value: Any, within: Any, grammar: bool) -> None:
        if isinstance(value, Derived):
            _check_names(value, [f"@{name}" for name in names])
            reads.update(value.reads)
        if isinstance(value, Where) and not isinstance(within, tuple):
            raise TypeError(
                f"{value!r} stands as an item of a tuple, such as one of a node's parts; "
                f"it was put into {type(within).__name__}."
            )
        if isinstance(value, Restricted):
            raise ValueError("A restricted space stands at the root only: restrict the whole.")
        if isinstance(value, Ref) and not grammar:
            raise ValueError(
                f"{value!r} stands outside of a grammar. Put it into one of its rules."
            )
        for part in parts(value):
            if isinstance(part, (Node, Open, tuple)):
                visit(part, value, grammar or isinstance(value, Grammar))

    visit(root, None, False)
    if any(isinstance(value, Derived) for value in _times(root)):
        _check_cycles(root)
    return frozenset(reads)


def near(word: str, known: list[str]) -> str:
    """A hint for a misspelt word: what is near, or what there is."""
    plain = {name.lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(word.lower(), plain, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(plain[c]) for c in close)}?"
    if not known:
        return "There is none."
    return f"There is {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."


def _check_names(value: Derived, known: list[str]) -> None:
    for read in value.reads:
        if base(read) not in known:
            hint = near(read, known) if known else "Give one name=... first."
            raise ValueError(f"{value!r} reads {read!r}, but no decision has that name. {hint}")


def _times(value: Any) -> Any:
    if isinstance(value, Repeat):
        yield value.times
    for part in parts(value):
        if isinstance(part, (Node, Open, tuple)):
            yield from _times(part)


def _check_cycles(root: Any) -> None:
    around: dict[str, set[int]] = {}  # name -> the gates that stand around each of its places
    reads_of: dict[int, tuple[str, ...]] = {}

    def visit(value: Any, gates: frozenset[int]) -> None:
        if isinstance(value, Domain) and value.name:
            found = around.setdefault(f"@{value.name}", set(gates))
            found &= gates
        if isinstance(value, Repeat) and isinstance(value.times, Derived):
            reads_of[id(value)] = value.times.reads
            gates |= {id(value)}
        for part in parts(value):
            if isinstance(part, (Node, Open, tuple)):
                visit(part, gates)

    visit(root, frozenset())
    for start in reads_of:
        waiting, seen = [start], set[int]()
        while waiting:
            gate = waiting.pop()
            for read in reads_of[gate]:
                behind = around.get(base(read), set[int]())
                if start in behind:
                    raise ValueError(
                        f"A cycle: the number of copies reads {read!r}, which stands only "
                        "inside those copies. Move the named decision outside of the Repeat."
                    )
                waiting.extend(behind - seen)
                seen |= behind
