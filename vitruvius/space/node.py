"""A node: a frozen dataclass whose fields hold values or domains.

With a domain anywhere inside, a node spans a space; with none it is *decided*: a design that can be
built. There is no other configuration layer: a node documents a method, holds its hyperparameters,
names a design and is written as JSON.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from vitruvius.space.fields import casts, field_names, not_finite

Scalar = bool | int | float | str | None
SCALARS = (bool, int, float, str, type(None))


class Infeasible(Exception):
    """A point that names no design: a constraint, a node's check, or a shape forbids it.

    ``address`` says where, ``reason`` why. A searcher is told of it; it does not count as a trial.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}" if self.address else self.reason


class Open(ABC):
    """What may stand where a value will: every domain. It refuses to be used as a value."""

    word: str
    label: str | None

    @property
    @abstractmethod
    def names(self) -> Mapping[str, Open]:
        """Named decisions inside, this one included: name to domain."""

    def examples(self) -> tuple[Any, ...]:
        """Scalars and nodes it may decide to, which a plain field around it must admit."""
        return ()

    def _refuse(self, *_: object) -> Any:
        raise TypeError(
            f"{self!r} is a domain: its value is not known until it is decided. "
            "To compute with it, give it a name and use derived(f, '@name')."
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}: it is a domain, whose value is not known "
            "until it is decided. To compute with it, give it a name and use derived(f, '@name')."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_program"}

    def __copy__(self) -> Self:
        return self  # trees never change

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    __bool__ = __len__ = __iter__ = __int__ = __float__ = __index__ = _refuse
    __complex__ = __round__ = __pos__ = __invert__ = __reversed__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _refuse
    __matmul__ = __rmatmul__ = __divmod__ = __rdivmod__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse  # type: ignore[assignment]
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __pow__ = __rpow__ = __neg__ = __abs__ = __getitem__ = __contains__ = _refuse
    __hash__ = object.__hash__


@dataclass(frozen=True)
class Node:
    """Base of everything that stands in a tree. Subclass it as a frozen dataclass.

    Fields hold JSON scalars, tuples, nodes or domains. Numbers are cast to the field's type.
    A class whose constructor takes ``*items`` names that field in ``varargs``. Where ``numeric``
    is true, a node may stand for the number in a numeric field.
    """

    label: str | None = field(default=None, kw_only=True, repr=False)
    varargs: ClassVar[str | None] = None
    numeric: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "node" in inspect.get_annotations(cls):
            raise TypeError(
                f"{cls.__name__}.node: JSON keeps the class under this name. "
                "Call the field otherwise."
            )
        for method in ("__eq__", "__hash__", "__repr__"):  # keep dataclass from writing its own
            if method not in cls.__dict__:
                setattr(cls, method, getattr(Node, method))

    @classmethod
    def space(cls, *args: Any, **fields: Any) -> Self:
        """This node with every hyperparameter open, but for the fields that are given."""
        if cls.varargs is None:
            names = [f.name for f in dataclasses.fields(cls) if f.init and not f.kw_only]
            if len(args) > len(names):
                raise TypeError(
                    f"{cls.__name__}.space takes at most {len(names)} positional fields; "
                    f"got {len(args)}."
                )
            for name, value in zip(names, args, strict=False):
                if name in fields:
                    raise TypeError(f"{cls.__name__}.space got {name} twice.")
                fields[name] = value
            args = ()
        for f in dataclasses.fields(cls):
            if f.name not in fields and f.metadata.get("domain") is not None:
                fields[f.name] = f.metadata["domain"]
        return cls(*args, **fields)

    def check(self) -> None:
        """Raise ValueError where the decided fields do not fit together."""

    def __post_init__(self) -> None:
        opened = False
        names: dict[str, Open] | None = None
        for name, cast in casts(type(self)):
            value = getattr(self, name)
            if cast is not None and not isinstance(value, (Open, Node)):
                cast_value = cast(value)
                if cast_value is not value:
                    object.__setattr__(self, name, cast_value)
                continue
            if cast is not None:
                self._admit(cast, value)
            elif isinstance(value, SCALARS):
                if type(value) is float and not math.isfinite(value):
                    raise ValueError(not_finite(f"{type(self).__name__}.{name}", value))
                continue
            inside = _inside(value, f"{type(self).__name__}.{name}")
            if inside is not None:
                opened = True
                if inside:
                    names = merge_names(names or {}, inside)
        object.__setattr__(self, "_names", names if opened and names else ({} if opened else None))
        if self.label is not None:
            plain_word(f"{type(self).__name__}.label", self.label)
        if not opened:
            self.check()

    def _admit(self, cast: Callable[[Any], Any], value: Open | Node) -> None:
        """Refuse what cannot become the scalar that a plain field holds."""
        for example in value.examples() if isinstance(value, Open) else (value,):
            if isinstance(example, Node) and example.numeric:
                continue
            try:
                cast(example)
            except TypeError as error:
                note = f" It is decided by {value!r}." if value is not example else ""
                raise TypeError(f"{error}{note}") from None

    @property
    def decided(self) -> bool:
        """True where no domain stands inside."""
        return self.__dict__["_names"] is None

    @property
    def names(self) -> Mapping[str, Open]:
        """Named decisions inside: name to domain."""
        return self.__dict__["_names"] or {}

    def replace(self, **fields: Any) -> Self:
        """A copy with some fields changed, checked like a new node."""
        known = field_names(type(self))
        for name in fields:
            if name not in known:
                raise TypeError(
                    f"{type(self).__name__} has no field {name!r}; it has {list(known)}."
                )
        return make(type(self), {**{n: getattr(self, n) for n in known}, **fields})

    def __eq__(self, other: object) -> bool:
        return same(self, other) if isinstance(other, Node) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(getattr(self, n)) for n in field_names(type(self)))))

    def __repr__(self) -> str:
        positional, named = [], []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name == self.varargs:
                positional.extend(repr(item) for item in value)
            elif f.default is not dataclasses.MISSING and same(value, f.default):
                continue
            elif f.default is dataclasses.MISSING and not f.kw_only and self.varargs is None:
                positional.append(repr(value))
            else:
                named.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(positional + named)})"

    def __reduce__(self) -> tuple[Any, ...]:
        cls = type(self)
        return make, (cls, {n: getattr(self, n) for n in field_names(cls)})

    def __copy__(self) -> Self:
        return self  # trees never change

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


N = TypeVar("N", bound=Node)


def make(cls: type[N], fields: Mapping[str, Any]) -> N:
    """A node from all its fields by name, whatever its constructor's signature."""
    node = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(node, name, value)
    node.__post_init__()
    return node


def same(a: object, b: object) -> bool:
    """Structural equality of values, nodes and domains; 1, 1.0 and True are three values."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Node):
        return all(same(getattr(a, n), getattr(b, n)) for n in field_names(type(a)))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type]
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())  # type: ignore[index]
    if isinstance(a, Open):
        mine, theirs = vars(a), vars(b)
        return all(same(mine[k], theirs[k]) for k in mine if not k.startswith("_"))
    return bool(a == b)


def merge_names(ours: Mapping[str, Open], theirs: Mapping[str, Open]) -> dict[str, Open]:
    """Named decisions of two parts; one name with two domains is an error."""
    merged = dict(ours)
    for name, domain in theirs.items():
        known = merged.setdefault(name, domain)
        if not same(known, domain):
            raise ValueError(
                f"The name {name!r} stands for two different domains: {known!r} and {domain!r}. "
                "A name is one decision everywhere: give both the same domain, or another name."
            )
    return merged


def _hashable(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_hashable(v) for v in value)
    return repr(value) if isinstance(value, Open) else (type(value), value)


def _inside(value: object, where: str) -> Mapping[str, Open] | None:
    """Names inside an allowed field value, or None where it is decided. Refuses other values."""
    if isinstance(value, Node):
        return value.__dict__["_names"]
    if isinstance(value, Open):
        return value.names
    if isinstance(value, tuple):
        found: dict[str, Open] | None = None
        for item in value:
            if isinstance(item, SCALARS):
                continue
            inside = _inside(item, where)
            if inside is not None:
                found = merge_names(found or {}, inside)
        return found
    if isinstance(value, SCALARS):
        return None
    advice = {
        list: "Write a tuple.",
        dict: "Write a node with these as fields.",
    }.get(type(value), "Write a node for it: a frozen dataclass that holds its settings.")
    if isinstance(value, type) and issubclass(value, Node):
        advice = f"Did you mean {value.__name__}()?"
    raise TypeError(
        f"{where} holds JSON scalars, tuples, nodes or domains; got {type(value).__name__} "
        f"({value!r:.60}). {advice}"
    )


def plain_word(what: str, word: object) -> None:
    """Raise ValueError where a name or label would break an address."""
    if not isinstance(word, str) or not re.fullmatch(r"[^\W\d]\w*", word):
        raise ValueError(f"{what} must be a plain word such as 'width'; got {word!r}.")


def importable(f: Callable[..., Any]) -> str:
    """The ``module:qualname`` of a function or class that another process can import."""
    module, name = getattr(f, "__module__", None), getattr(f, "__qualname__", "")
    if not module or not name or "<" in name:
        raise ValueError(
            f"{f!r} cannot be imported by name. Write it at the top of a module, "
            "so that a space can be saved and read back."
        )
    return f"{module}:{name}"
