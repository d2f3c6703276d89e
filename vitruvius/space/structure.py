"""What shapes a tree beside its decisions: copies, derived values, conditions, grammars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vitruvius.space.domains import Choice, Domain, names_in
from vitruvius.space.node import Node, Open, importable, merge_names, plain_word


class Repeat(Open):
    """``times`` copies of a body, spliced into the tuple where it stands.

    The copies differ; with ``tied=True`` they share their decisions (not their weights).
    """

    word = "repeat"

    def __init__(
        self, body: Any, times: Any, *, tied: bool = False, label: str | None = None
    ) -> None:
        if not isinstance(times, Derived):
            for low in times.examples() if isinstance(times, Domain) else (times,):
                if type(low) is not int:
                    raise TypeError(
                        f"Repeat.times is a whole number or a domain of them; got {times!r}."
                    )
                if low < 0:
                    raise ValueError(f"Repeat.times must not be negative; got {times!r}.")
        if isinstance(times, Choice) and len(times.examples()) < times.size:
            raise TypeError(f"Repeat.times takes plain numbers as options; got {times!r}.")
        if label is not None:
            plain_word("Repeat: label", label)
        self.body, self.times, self.tied, self.label = body, times, tied, label
        self._names = merge_names(names_in(times), names_in(body))

    @property
    def names(self) -> Mapping[str, Open]:
        return self._names

    def __repr__(self) -> str:
        extra = ", tied=True" * self.tied + (f", label={self.label!r}" if self.label else "")
        return f"Repeat({self.body!r}, times={self.times!r}{extra})"


class Derived(Open):
    """A value computed from named decisions, which are decided first."""

    word = "derived"
    label = None

    def __init__(self, f: Callable[..., Any], reads: Sequence[str]) -> None:
        importable(f)
        self.f, self.reads = f, _reads(self.word, reads)

    @property
    def names(self) -> Mapping[str, Open]:
        return {}

    def __repr__(self) -> str:
        return f"{self.word}({', '.join([self.f.__name__, *map(repr, self.reads)])})"


class Where(Derived):
    """A condition on named decisions. It stands as an item of a tuple and vanishes when decided."""

    word = "where"


class Ref(Open):
    """A place where a rule of the surrounding ``grammar`` is expanded."""

    def __init__(self, rule: str, *, label: str | None = None) -> None:
        for what, word in (("Ref: rule", rule), ("Ref: label", label or rule)):
            plain_word(what, word)
        self.rule, self.label, self.word = rule, label, rule

    @property
    def names(self) -> Mapping[str, Open]:
        return {}

    def __repr__(self) -> str:
        return f"Ref({self.rule!r}" + (f", label={self.label!r})" if self.label else ")")


class Grammar(Open):
    """Rules that may refer to each other, expanded at most ``depth`` references deep."""

    word = "grammar"
    label = None

    def __init__(self, start: str, depth: int, rules: Mapping[str, Any]) -> None:
        self.start, self.depth, self.rules = start, depth, dict(rules)
        names: dict[str, Open] = {}
        for rule, body in self.rules.items():
            for ref in _refs(body):
                if ref not in self.rules:
                    raise ValueError(f"grammar: rule {rule!r} refers to {ref!r}, which is no rule.")
            names = merge_names(names, names_in(body))
        for name in _names_over_refs(tuple(self.rules.values())):
            raise ValueError(
                f"grammar: the named decision {name!r} holds a Ref, so that it would differ "
                "from depth to depth. Leave its name out."
            )
        if type(depth) is not int or depth < 0:
            raise ValueError(f"grammar: depth is a whole number, at least 0; got {depth!r}.")
        if start not in self.rules:
            raise ValueError(f"grammar starts at {start!r}, which is none of {list(self.rules)}.")
        self.needs = self._least_depths()
        if self.needs[start] > depth:
            raise ValueError(
                f"grammar: {start!r} cannot end within depth {depth}; it needs {self.needs[start]}."
                if self.needs[start] < math.inf
                else f"grammar: {start!r} never ends. Give it an option without Ref."
            )
        self._names = names

    @property
    def names(self) -> Mapping[str, Open]:
        return self._names

    def need(self, value: Any) -> float:
        """References that the shortest expansion of a part nests."""
        if isinstance(value, Ref):
            return 1 + self.needs[value.rule]
        if isinstance(value, Grammar):
            return 0
        if isinstance(value, Choice):
            return min(self.need(option) for option in value.options)
        if isinstance(value, Repeat) and _may_be_empty(value.times):
            return 0
        return max((self.need(part) for part in parts(value)), default=0)

    def _least_depths(self) -> dict[str, float]:
        self.needs = dict.fromkeys(self.rules, math.inf)
        for _ in range(len(self.rules) + 1):
            self.needs = {rule: self.need(body) for rule, body in self.rules.items()}
        return self.needs

    def __repr__(self) -> str:
        rules = ", ".join(f"{k}={v!r}" for k, v in self.rules.items())
        return f"grammar({self.start!r}, {self.depth}, {rules})"


class Restricted(Open):
    """A space with some of its decisions limited, by address. Made by ``restrict``."""

    word = "restricted"
    label = None

    def __init__(self, space: Any, limits: Mapping[str, tuple[Any, ...]]) -> None:
        self.space, self.limits = space, dict(limits)

    @property
    def names(self) -> Mapping[str, Open]:
        return names_in(self.space)

    def __repr__(self) -> str:
        return f"restrict({self.space!r}, {self.limits!r})"


def parts(value: Any) -> Iterator[Any]:
    """What stands directly inside a value: fields, items, options, bodies."""
    if isinstance(value, Node):
        yield from (v for k, v in vars(value).items() if not k.startswith("_"))
    elif isinstance(value, tuple):
        yield from value
    elif isinstance(value, Choice):
        yield from value.options
    elif isinstance(value, Repeat):
        yield from (value.times, value.body)
    elif isinstance(value, Grammar):
        yield from value.rules.values()
    elif isinstance(value, Restricted):
        yield value.space


def _reads(word: str, reads: Sequence[str]) -> tuple[str, ...]:
    if not reads:
        raise ValueError(f"{word} reads at least one named decision, such as '@width'.")
    for read in reads:
        if not isinstance(read, str) or not read.startswith("@"):
            raise ValueError(
                f"{word} reads names that begin with '@', such as '@width'; got {read!r}."
            )
    return tuple(reads)


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.rule
    elif not isinstance(value, Grammar):
        for part in parts(value):
            yield from _refs(part)


def _names_over_refs(value: Any) -> Iterator[str]:
    for part in () if isinstance(value, Grammar) else parts(value):
        named = part.times if isinstance(part, Repeat) else part
        if isinstance(named, Domain) and named.name and any(True for _ in _refs(part)):
            yield named.name
        yield from _names_over_refs(part)


def _may_be_empty(times: Any) -> bool:
    if isinstance(times, Domain):
        return times.contains(0)
    return type(times) is int and times == 0
