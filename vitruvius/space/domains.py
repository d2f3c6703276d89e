"""Domains: what may stand in a field until it is decided.

Lower case chooses: ``one_of``, ``integers``, ``uniform``, ``log_uniform``, ``ordered``,
``optional`` and ``either_order`` are typed to return what they decide to, as
``dataclasses.field`` is.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal, TypeVar

from vitruvius.space.node import SCALARS, Node, Open, Scalar, importable, merge_names

T = TypeVar("T")
Kind = Literal["categorical", "ordered", "integer", "real"]


class Domain(Open):
    """One decision: its values, their labels, and how values are near to each other.

    ``position`` maps a label to [0, 1] and ``at`` back: bisection, surrogate columns and local
    moves follow from it. A categorical domain has no order, so its positions carry no meaning.
    """

    kind: Kind
    word: str
    name: str | None
    label: str | None

    @property
    def size(self) -> int | None:
        """Number of labels; None for a real domain."""
        raise NotImplementedError

    def contains(self, label: object) -> bool:
        raise NotImplementedError

    def position(self, label: Any) -> float:
        raise NotImplementedError

    def at(self, u: float) -> Any:
        """The label at quantile u in [0, 1]."""
        raise NotImplementedError

    def sample(self, rng: Random) -> Any:
        return self.at(rng.random())

    def neighbours(self, label: Any) -> tuple[Any, ...]:
        """Labels next to this one: all others where there is no order."""
        raise NotImplementedError

    def limit(self, allowed: Sequence[Any]) -> Domain:
        """The same decision with fewer values, under the same labels."""
        raise NotImplementedError

    @property
    def names(self) -> Mapping[str, Open]:
        return self._names  # type: ignore[attr-defined]

    def _called(self, name: str | None, label: str | None) -> None:
        for word, given in (("name", name), ("label", label)):
            if given is not None and not re.fullmatch(r"[^\W\d]\w*", given):
                raise ValueError(
                    f"{self.word}: {word}={given!r} must be a plain word such as 'width'."
                )
        self.name, self.label = name, label

    def _written(self, parts: Sequence[str]) -> str:
        named = [f"{w}={v!r}" for w, v in (("name", self.name), ("label", self.label)) if v]
        return f"{self.word}({', '.join([*parts, *named])})"


class Choice(Domain):
    """One of several options: scalars, tuples, nodes, or further domains.

    The label of an option is the scalar itself, or the class name of a node (``#2`` for the second
    of a class), so that a point survives an edit of the space.
    """

    def __init__(
        self,
        options: Sequence[Any],
        *,
        word: str = "one_of",
        name: str | None = None,
        label: str | None = None,
        labels: Sequence[Scalar] | None = None,
    ) -> None:
        self.word = word
        self._called(name, label)
        if not options:
            raise ValueError(f"{word} needs at least one option.")
        self.options = tuple(options)
        self.labels = tuple(labels) if labels is not None else option_labels(self.options)
        increasing = _monotone(self.options)
        self.kind = "ordered" if word == "ordered" or increasing else "categorical"
        self._index = {_key(item): i for i, item in enumerate(self.labels)}
        if len(self._index) < len(self.labels):
            twice = next(x for x in self.labels if self.labels.count(x) > 1)
            raise ValueError(f"{word} has the option {twice!r} twice.")
        names: dict[str, Open] = {}
        for option in self.options:
            names = merge_names(names, names_in(option))
        self._names = merge_names(names, {name: self}) if name else names

    @property
    def size(self) -> int:
        return len(self.options)

    def contains(self, label: object) -> bool:
        return _key(label) in self._index

    def index(self, label: Any) -> int:
        return self._index[_key(label)]

    def option(self, label: Any) -> Any:
        return self.options[self._index[_key(label)]]

    def position(self, label: Any) -> float:
        return (self.index(label) + 0.5) / len(self.options)

    def at(self, u: float) -> Any:
        return self.labels[min(int(u * len(self.labels)), len(self.labels) - 1)]

    def neighbours(self, label: Any) -> tuple[Any, ...]:
        i = self.index(label)
        if self.kind == "categorical":
            return self.labels[:i] + self.labels[i + 1 :]
        return self.labels[max(i - 1, 0) : i] + self.labels[i + 1 : i + 2]

    def limit(self, allowed: Sequence[Any]) -> Choice:
        for label in allowed:
            if not self.contains(label):
                raise ValueError(f"{label!r} is not among the options {list(self.labels)}.")
        keep = sorted({self.index(label) for label in allowed})
        limited = Choice(
            [self.options[i] for i in keep],
            word=self.word,
            name=self.name,
            label=self.label,
            labels=[self.labels[i] for i in keep],
        )
        limited.kind = self.kind
        return limited

    def __repr__(self) -> str:
        if self.word == "optional":
            return self._written([repr(self.options[1])])
        if self.word == "either_order":
            return self._written([repr(item) for item in self.options[0]])
        return self._written([repr(option) for option in self.options])


class Integers(Domain):
    """Whole numbers from low to high, both included; ``log`` spreads them by ratio."""

    word = "integers"
    kind = "integer"

    def __init__(
        self,
        low: int,
        high: int,
        *,
        log: bool = False,
        name: str | None = None,
        label: str | None = None,
    ) -> None:
        self._called(name, label)
        if isinstance(low, bool) or not isinstance(low, int) or not isinstance(high, int):
            raise TypeError(f"integers takes whole numbers; got {low!r} and {high!r}.")
        if low > high or (log and low < 1):
            need = "1 <= low <= high" if log else "low <= high"
            raise ValueError(f"integers needs {need}; got {low} and {high}.")
        self.low, self.high, self.log = low, high, log
        self._names: Mapping[str, Open] = {name: self} if name else {}

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def contains(self, label: object) -> bool:
        return type(label) is int and self.low <= label <= self.high

    def position(self, label: int) -> float:
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (math.log(label) - low) / (high - low)
        return (label - self.low + 0.5) / self.size

    def at(self, u: float) -> int:
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + u * (high - low)))
        else:
            value = self.low + int(u * self.size)
        return min(max(value, self.low), self.high)

    def neighbours(self, label: int) -> tuple[int, ...]:
        step = max(1, round(label * 0.1)) if self.log else 1
        return tuple(v for v in (label - step, label + step) if self.low <= v <= self.high)

    def limit(self, allowed: Sequence[Any]) -> Integers:
        for label in allowed:
            if not self.contains(label):
                raise ValueError(f"{label!r} is not a whole number in [{self.low}, {self.high}].")
        return Integers(min(allowed), max(allowed), log=self.log, name=self.name, label=self.label)

    def __repr__(self) -> str:
        return self._written([repr(self.low), repr(self.high)] + ["log=True"] * self.log)


class Real(Domain):
    """A real number between low and high, uniform or uniform in its logarithm."""

    kind = "real"

    def __init__(
        self,
        low: float,
        high: float,
        *,
        log: bool = False,
        name: str | None = None,
        label: str | None = None,
    ) -> None:
        self.word = "log_uniform" if log else "uniform"
        self._called(name, label)
        for value in (low, high):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{self.word} takes numbers; got {value!r}.")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high) or (log and low <= 0):
            need = "0 < low <= high" if log else "finite low <= high"
            raise ValueError(f"{self.word} needs {need}; got {low} and {high}.")
        self.low, self.high, self.log = float(low), float(high), log
        self._names: Mapping[str, Open] = {name: self} if name else {}

    @property
    def size(self) -> int | None:
        return 1 if self.low == self.high else None

    def contains(self, label: object) -> bool:
        return (
            isinstance(label, (int, float))
            and not isinstance(label, bool)
            and self.low <= label <= self.high
        )

    def position(self, label: float) -> float:
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(label / self.low) / math.log(self.high / self.low)
        return (label - self.low) / (self.high - self.low)

    def at(self, u: float) -> float:
        if self.log:
            value = self.low * (self.high / self.low) ** u
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def neighbours(self, label: float) -> tuple[float, ...]:
        u = self.position(label)
        return tuple(self.at(v) for v in (u - 0.1, u + 0.1) if 0.0 <= v <= 1.0)

    def limit(self, allowed: Sequence[Any]) -> Real:
        for label in allowed:
            if not self.contains(label):
                raise ValueError(f"{label!r} is not a number in [{self.low}, {self.high}].")
        return Real(min(allowed), max(allowed), log=self.log, name=self.name, label=self.label)

    def __repr__(self) -> str:
        return self._written([repr(self.low), repr(self.high)])


class Repeat(Open):
    """``times`` copies of a body, spliced into the tuple where it stands.

    The copies differ; with ``tied=True`` they share their decisions (not their weights).
    """

    word = "repeat"

    def __init__(
        self, body: Any, times: Any, *, tied: bool = False, label: str | None = None
    ) -> None:
        for option in times.options if isinstance(times, Choice) else (times,):
            if not isinstance(option, (int, Integers, Derived)) or isinstance(option, bool):
                raise TypeError(
                    f"Repeat.times is a whole number or a domain of them; got {times!r}."
                )
            low = option.low if isinstance(option, Integers) else option
            if isinstance(low, int) and low < 0:
                raise ValueError(f"Repeat.times must not be negative; got {times!r}.")
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
        self.f, self.reads = f, _reads("derived", reads)

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

    word = "ref"

    def __init__(self, rule: str, *, label: str | None = None) -> None:
        self.rule, self.label = rule, label

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
        for name, domain in names.items():
            if any(True for _ in _refs(domain)):
                raise ValueError(
                    f"grammar: the named decision {name!r} holds a Ref, so that it would differ "
                    "from depth to depth. Leave its name out."
                )
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
        if isinstance(value, Choice):
            return min(self.need(option) for option in value.options)
        if isinstance(value, Repeat) and _may_be_empty(value.times):
            return 0
        return max((self.need(part) for part in parts(value)), default=0)

    def _least_depths(self) -> dict[str, float]:
        self.needs: dict[str, float] = dict.fromkeys(self.rules, math.inf)
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
    orders = tuple(itertools.permutations(items))
    return Choice(orders, word="either_order", name=name, label=label)  # type: ignore[return-value]


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


def names_in(value: Any) -> Mapping[str, Open]:
    """Named decisions inside a value: name to domain."""
    if isinstance(value, (Node, Open)):
        return value.names
    found: dict[str, Open] = {}
    if isinstance(value, tuple):
        for item in value:
            found = merge_names(found, names_in(item))
    return found


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


def option_labels(options: Sequence[Any]) -> tuple[Scalar, ...]:
    """Labels of options: scalars are their own, nodes have their class name."""
    seen: dict[str, int] = {}
    labels: list[Scalar] = []
    for option in options:
        if isinstance(option, SCALARS):
            if isinstance(option, float) and not math.isfinite(option):
                raise ValueError(f"An option must be a finite number; got {option!r}.")
            labels.append(option)
            continue
        word = word_of(option)
        seen[word] = seen.get(word, 0) + 1
        labels.append(word if seen[word] == 1 else f"{word}#{seen[word]}")
    return tuple(labels)


def word_of(option: Any) -> str:
    """What an option that is no scalar is called in a label."""
    if isinstance(option, Node):
        return option.label or type(option).__name__
    if isinstance(option, tuple):
        return "-".join("None" if x is None else str(x) if isinstance(x, SCALARS) else word_of(x)
                        for x in option) or "empty"  # fmt: skip
    if isinstance(option, Ref):
        return option.label or option.rule
    if isinstance(option, Open):
        return option.label or option.word  # type: ignore[attr-defined]
    raise TypeError(
        f"An option is a scalar, a tuple, a node or a domain; got {type(option).__name__}."
    )


@functools.cache
def snake(word: str) -> str:
    """``GlobalAveragePool`` -> ``global_average_pool``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", word).lower()


def _key(label: object) -> tuple[type, object]:
    return type(label), label


def _monotone(options: Sequence[Any]) -> bool:
    if len(options) < 2 or any(
        isinstance(x, bool) or not isinstance(x, (int, float)) for x in options
    ):
        return False
    steps = [b - a for a, b in itertools.pairwise(options)]
    return all(s > 0 for s in steps) or all(s < 0 for s in steps)


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


def _may_be_empty(times: Any) -> bool:
    if isinstance(times, Choice):
        return 0 in times.options
    return times.low == 0 if isinstance(times, Integers) else times == 0
