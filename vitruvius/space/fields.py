"""Fields of a node class: defaults, domains, descriptions, and what numbers are cast to."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@typing.overload
def hyper(default: types.EllipsisType, domain: Any = None, doc: str = "") -> Any: ...
@typing.overload
def hyper(default: T, domain: T | None = None, doc: str = "") -> T: ...
def hyper(default: Any, domain: Any = None, doc: str = "") -> Any:
    """A field: the value it has by default, the domain that ``space()`` opens, a word on it.

    ``...`` as the default makes the field required.
    """
    metadata = {"domain": domain, "doc": doc}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Hyperparameter:
    """What is known of one field of a node class."""

    name: str
    annotation: str
    default: Any
    domain: Any
    doc: str

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


def hyperparameters(cls: type) -> Iterator[Hyperparameter]:
    """The fields of a node class with defaults, domains and descriptions."""
    for f in dataclasses.fields(cls):
        if f.name == "label":
            continue
        written = f.type if isinstance(f.type, str) else getattr(f.type, "__name__", str(f.type))
        yield Hyperparameter(
            f.name, written, f.default, f.metadata.get("domain"), f.metadata.get("doc", "")
        )


@functools.cache
def field_names(cls: type) -> tuple[str, ...]:
    """Names of all fields of a node class, in order."""
    return tuple(f.name for f in dataclasses.fields(cls))


@dataclass(frozen=True)
class Cast:
    """What a plain field holds: one type of scalar, or None where that is allowed."""

    owner: str
    name: str
    to: type
    nullable: bool

    def __call__(self, value: Any) -> Any:
        if type(value) is self.to:
            if self.to is float and not math.isfinite(value):
                raise ValueError(not_finite(f"{self.owner}.{self.name}", value))
            return value
        if value is None and self.nullable:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if self.to is float:
                return self(float(value))
            if self.to is int and isinstance(value, float) and value.is_integer():
                return int(value)
        article = "an" if self.to is int else "a"
        raise TypeError(f"{self.owner}.{self.name} is {article} {self.to.__name__}; got {value!r}.")


@functools.cache
def casts(cls: type) -> tuple[tuple[str, Cast | None], ...]:
    """Each field with what it is cast to, or None where it may hold nodes and tuples."""
    fields = dataclasses.fields(cls)
    written = {
        name for name, hint in inspect.get_annotations(cls).items() if "ClassVar" not in str(hint)
    }
    if forgotten := sorted(written - {f.name for f in fields}):
        raise TypeError(
            f"{cls.__name__}.{forgotten[0]} is no field yet: write @dataclass(frozen=True) "
            f"above class {cls.__name__}."
        )
    try:
        hints: Mapping[str, Any] = typing.get_type_hints(cls)
    except NameError:  # annotations of a class inside a function
        hints = {}
    return tuple((f.name, _cast(cls, f.name, hints.get(f.name, f.type))) for f in fields)


def not_finite(place: str, value: float) -> str:
    """What to say of a number that JSON cannot hold."""
    return f"{place} must be a finite number; got {value!r}. For no limit, write None."


_PLAIN: dict[Any, type] = {int: int, float: float, bool: bool, str: str} | {
    t.__name__: t for t in (int, float, bool, str)
}


def _cast(cls: type, name: str, hint: Any) -> Cast | None:
    nullable = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        found = [a for a in typing.get_args(hint) if a is not type(None)]
        nullable = len(found) < len(typing.get_args(hint))
        hint = found[0] if len(found) == 1 else None
    if isinstance(hint, str):
        nullable = "None" in hint
        hint = hint.removesuffix(" | None")
    try:
        to = _PLAIN.get(hint)
    except TypeError:  # not hashable
        to = None
    return Cast(cls.__name__, name, to, nullable) if to else None
