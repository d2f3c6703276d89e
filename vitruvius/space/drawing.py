"""A space or a design as an indented tree, for terminals and logs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from vitruvius.space.domains import Choice
from vitruvius.space.node import SCALARS, Node, Open
from vitruvius.space.structure import Grammar, Repeat, Restricted


def draw(space: Any) -> str:
    """The tree of a space, one line per part; what is open shows its domain."""
    return "\n".join(_lines(_heading(space), _children(space)))


def _lines(heading: str, children: list[tuple[str, Any]]) -> Iterator[str]:
    yield heading
    for i, (name, value) in enumerate(children):
        last = i == len(children) - 1
        prefix = f"{name}: " if name else ""
        inner = _lines(prefix + _heading(value), _children(value))
        for j, line in enumerate(inner):
            branch = ("└─ " if last else "├─ ") if j == 0 else ("   " if last else "│  ")
            yield branch + line


def _heading(value: Any) -> str:
    if isinstance(value, Node):
        plain = [
            f"{f.name}={getattr(value, f.name)!r}"
            for f in dataclasses.fields(value)
            if f.name not in ("label", value.varargs) and _is_plain(getattr(value, f.name))
        ]
        return type(value).__name__ + (f"({', '.join(plain)})" if plain else "")
    if isinstance(value, Choice) and not all(_is_plain(option) for option in value.options):
        return value.word + (f" @{value.name}" if value.name else "")
    if isinstance(value, Repeat):
        times = repr(value.times)
        return f"Repeat(times={times}{', tied' * value.tied})"
    if isinstance(value, Grammar):
        return f"grammar from {value.start!r}, depth {value.depth}"
    if isinstance(value, Restricted):
        limits = (f"{address} in {list(allowed)}" for address, allowed in value.limits.items())
        return "restricted: " + "; ".join(limits)
    return repr(value) if not isinstance(value, tuple) else f"{len(value)} items"


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Node):
        found: list[tuple[str, Any]] = []
        for f in dataclasses.fields(value):
            inner = getattr(value, f.name)
            if f.name == value.varargs:
                found.extend(("", item) for item in inner)
            elif not _is_plain(inner):
                found.append((f.name, inner))
        return found
    if isinstance(value, tuple):
        return [("", item) for item in value]
    if isinstance(value, Choice) and not all(_is_plain(option) for option in value.options):
        if value.word == "either_order":
            return [("", item) for item in value.options[0]]
        return [("", option) for option in value.options if option is not None]
    if isinstance(value, Repeat):
        return [("", value.body)]
    if isinstance(value, Grammar):
        return list(value.rules.items())
    if isinstance(value, Restricted):
        return [("", value.space)]
    return []


def _is_plain(value: Any) -> bool:
    """True for what is written in one line: scalars, tuples and domains of them."""
    if isinstance(value, Choice):
        return all(_is_plain(option) for option in value.options)
    if isinstance(value, tuple):
        return all(isinstance(item, SCALARS) for item in value)
    return isinstance(value, SCALARS) or (
        isinstance(value, Open) and not isinstance(value, (Repeat, Grammar, Restricted))
    )
