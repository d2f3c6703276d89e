"""Domains: one decision each, among options or numbers, with its labels."""

from __future__ import annotations

import functools
import itertools
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Literal

from vitruvius.space.node import SCALARS, Node, Open, Scalar, merge_names, plain_word, same

Kind = Literal["categorical", "ordered", "integer", "real"]


class Domain(Open):
    """One decision: its values, their labels, and how values are near to each other.

    ``position`` maps a label to [0, 1] and ``at`` back: bisection, surrogate columns and local
    moves follow from it. A categorical domain has no order, so its positions carry no meaning.
    """

    kind: Kind
    name: str | None
    _names: Mapping[str, Open]

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Number of labels; None for a real domain."""

    @abstractmethod
    def contains(self, label: object) -> bool:
        """Whether it can be decided so."""

    @abstractmethod
    def position(self, label: Any) -> float:
        """The quantile of a label, in [0, 1]."""

    @abstractmethod
    def at(self, u: float) -> Any:
        """The label at quantile u in [0, 1]."""

    def sample(self, rng: Random) -> Any:
        return self.at(rng.random())

    @abstractmethod
    def neighbours(self, label: Any) -> tuple[Any, ...]:
        """Labels next to this one: all others where there is no order."""

    @abstractmethod
    def limit(self, allowed: Sequence[Any]) -> Domain:
        """The same decision with fewer values, under the same labels."""

    @property
    def names(self) -> Mapping[str, Open]:
        return self._names

    def _called(self, name: str | None, label: str | None) -> None:
        for word, given in (("name", name), ("label", label)):
            if given is not None:
                plain_word(f"{self.word}: {word}", given)
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
            twice = next(
                x for i, x in enumerate(self.labels) if _key(x) in map(_key, self.labels[:i])
            )
            raise ValueError(f"{word} has the option {twice!r} twice. Leave one out, or label it.")
        if name and any(getattr(option, "word", None) == "derived" for option in self.options):
            raise ValueError(
                f"{word}: the named decision {name!r} holds a derived value, which others "
                "could not read. Leave its name out, or derive the value where it is used."
            )
        names: dict[str, Open] = {}
        for option in self.options:
            names = merge_names(names, names_in(option))
        self._names = merge_names(names, {name: self}) if name else names

    @property
    def size(self) -> int:
        return len(self.options)

    def examples(self) -> tuple[Any, ...]:
        return tuple(o for o in self.options if isinstance(o, (*SCALARS, Node)))

    def contains(self, label: object) -> bool:
        return isinstance(label, SCALARS) and _key(label) in self._index

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
        if self.word == "optional" and len(self.options) == 2:
            return self._written([repr(self.options[1])])
        if self.word == "either_order" and len(self.options) == len(orders(self.options[0])):
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
        self._names = {name: self} if name else {}

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

    def examples(self) -> tuple[Any, ...]:
        return (self.low,)

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
        self._names = {name: self} if name else {}

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

    def examples(self) -> tuple[Any, ...]:
        return (self.low if self.low == self.high else 0.5,)

    def __repr__(self) -> str:
        return self._written([repr(self.low), repr(self.high)])


def names_in(value: Any) -> Mapping[str, Open]:
    """Named decisions inside a value: name to domain."""
    if isinstance(value, (Node, Open)):
        return value.names
    found: dict[str, Open] = {}
    if isinstance(value, tuple):
        for item in value:
            found = merge_names(found, names_in(item))
    return found


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
    if isinstance(option, Open):
        return option.label or option.word
    raise TypeError(
        f"An option is a scalar, a tuple, a node or a domain; got {type(option).__name__}."
    )


@functools.cache
def snake(word: str) -> str:
    """``GlobalAveragePool`` -> ``global_average_pool``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", word).lower()


def orders(items: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    """All different orders of the items."""
    first = [next(j for j, other in enumerate(items) if same(item, other)) for item in items]
    found = dict.fromkeys(itertools.permutations(first))
    return tuple(tuple(items[i] for i in order) for order in found)


def _key(label: object) -> tuple[type, object]:
    return type(label), label


def _monotone(options: Sequence[Any]) -> bool:
    if len(options) < 2 or any(
        isinstance(x, bool) or not isinstance(x, (int, float)) for x in options
    ):
        return False
    steps = [b - a for a, b in itertools.pairwise(options)]
    return all(s > 0 for s in steps) or all(s < 0 for s in steps)
