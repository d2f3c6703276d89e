"""All designs of a space, by plain recursion over the tree: slow, and independent of the compiler.

A name is decided where it is first met and looked up afterwards. Numbers of copies that are derived
are guessed beforehand, and a guess that the design does not bear out is dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from vitruvius.space import Node, Ref, Repeat
from vitruvius.space.domains import Choice, Integers, names_in
from vitruvius.space.fields import field_names
from vitruvius.space.node import Open, make
from vitruvius.space.structure import Derived, Grammar, Where, parts

Late = Callable[[Mapping[str, Any]], Any]  # a value, once all names are known


class Known(NamedTuple):
    names: Mapping[str, tuple[Any, Late]]
    conditions: tuple[Where, ...]


class Around(NamedTuple):
    guessed: Mapping[str, Any]
    rules: Mapping[str, Any] | None = None
    left: int = 0


class Items(list[Any]):
    """Spliced into the tuple around it."""


ABSENT = Items()  # None in a field


def designs(space: Any) -> Iterator[Any]:
    """Every design that meets the conditions, one for each point."""
    reads = sorted({read for gate in _gates(space) for read in gate.reads})
    domains = [names_in(space)[read.removeprefix("@")] for read in reads]
    for guess in itertools.product(*({None: 0} | dict.fromkeys(_labels(d)) for d in domains)):
        guessed = dict(zip(reads, guess, strict=True))
        for late, known in _expand(space, Known({}, ()), Around(guessed)):
            labels = {f"@{name}": label for name, (label, _) in known.names.items()}
            if any(not _equal(labels.get(read), guessed[read]) for read in reads):
                continue
            if all(where.f(*map(labels.get, where.reads)) for where in known.conditions):
                made = late(labels)
                yield _alone(made)


def _expand(value: Any, known: Known, around: Around) -> Iterator[tuple[Late, Known]]:
    if isinstance(value, Node):
        names = field_names(type(value))
        for lates, after in _each([getattr(value, name) for name in names], known, around):
            yield _make(type(value), names, lates), after
    elif isinstance(value, tuple):
        for lates, after in _each(value, known, around):
            yield _splice(lates, tuple), after
    elif isinstance(value, (Choice, Integers)):
        if value.name and value.name in known.names:
            yield known.names[value.name][1], known
            return
        for label in _labels(value):
            option = value.option(label) if isinstance(value, Choice) else label
            for late, after in _expand(option, known, around):
                if value.word == "either_order":
                    late = _then(late, Items)
                if value.word == "optional" and option is None:
                    late = _then(late, lambda _: ABSENT)
                if value.name:
                    after = after._replace(names={**after.names, value.name: (label, late)})
                yield late, after
    elif isinstance(value, Repeat):
        if isinstance(value.times, Derived):
            number = value.times.f(*(around.guessed[read] for read in value.times.reads))
            numbers: Any = [(lambda _, number=number: number, known)]
        else:
            numbers = _expand(value.times, known, around)
        for times, after in numbers:
            number = times({})
            bodies = (value.body,) * (min(number, 1) if value.tied else number)
            for lates, last in _each(bodies, after, around):
                yield _splice(lates * number if value.tied else lates, Items), last
    elif isinstance(value, Where):
        yield (
            lambda _: Items(),
            known._replace(conditions=(*known.conditions, value)),
        )
    elif isinstance(value, Derived):
        yield lambda labels: value.f(*map(labels.get, value.reads)), known
    elif isinstance(value, Grammar):
        inner = Around(around.guessed, value.rules, value.depth)
        yield from _expand(value.rules[value.start], known, inner)
    elif isinstance(value, Ref):
        assert around.rules is not None
        if around.left:
            inner = around._replace(left=around.left - 1)
            yield from _expand(around.rules[value.rule], known, inner)
    else:
        yield lambda _: value, known


def _each(values: Any, known: Known, around: Around) -> Iterator[tuple[list[Late], Known]]:
    if not values:
        yield [], known
        return
    for first, after in _expand(values[0], known, around):
        for rest, last in _each(values[1:], after, around):
            yield [first, *rest], last


def _make(cls: type[Node], names: tuple[str, ...], lates: list[Late]) -> Late:
    return lambda labels: make(
        cls, {n: _alone(late(labels)) for n, late in zip(names, lates, strict=True)}
    )


def _splice(lates: list[Late], into: type) -> Late:
    def late(labels: Mapping[str, Any]) -> Any:
        made = [one(labels) for one in lates]
        return into(
            itertools.chain(*(item if isinstance(item, Items) else [item] for item in made))
        )

    return late


def _then(late: Late, f: Callable[[Any], Any]) -> Late:
    return lambda labels: f(late(labels))


def _alone(made: Any) -> Any:
    if made is ABSENT:
        return None
    return tuple(made) if isinstance(made, Items) else made


def _labels(domain: Any) -> list[Any]:
    if isinstance(domain, Integers):
        return list(range(domain.low, domain.high + 1))
    return list(domain.labels)


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _gates(value: Any) -> Iterator[Derived]:
    if isinstance(value, Repeat) and isinstance(value.times, Derived):
        yield value.times
    for part in parts(value):
        if isinstance(part, (Node, Open, tuple)):
            yield from _gates(part)
