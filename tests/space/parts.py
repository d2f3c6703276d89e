"""Small nodes to build spaces of, and functions for derived values and conditions."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

from vitruvius.space import Decision, Node, hyper, log_uniform, one_of, uniform


@dataclass(frozen=True)
class Conv(Node):
    filters: int = hyper(32, one_of(16, 32, 64), "number of filters")
    kernel: int = hyper(3, one_of(3, 5), "side of the window, pixels")

    def check(self) -> None:
        if self.filters < 1:
            raise ValueError(f"Conv.filters must be at least 1; got {self.filters}.")


@dataclass(frozen=True)
class Dropout(Node):
    rate: float = hyper(0.5, uniform(0.0, 0.9), "share of units set to zero")


@dataclass(frozen=True)
class ReLU(Node):
    pass


@dataclass(frozen=True)
class BatchNorm(Node):
    pass


@dataclass(frozen=True)
class AdamW(Node):
    learning_rate: float = hyper(1e-3, log_uniform(1e-5, 1e-1), "step size")
    amsgrad: bool = hyper(False, one_of(False, True), "keep the largest second moment")


@dataclass(frozen=True)
class SGD(Node):
    learning_rate: float = hyper(1e-2, log_uniform(1e-4, 1.0), "step size")


@dataclass(frozen=True)
class Holder(Node):
    """Two fields that hold anything."""

    first: Any = None
    second: Any = None


@dataclass(frozen=True)
class Redloh(Node):
    """As Holder, with its fields the other way round."""

    second: Any = None
    first: Any = None


@dataclass(frozen=True)
class Picky(Node):
    """Refuses two equal sizes."""

    left: int = 1
    right: int = 2

    def check(self) -> None:
        if self.left == self.right:
            raise ValueError(f"Picky.left must differ from right; got {self.left} twice.")


@dataclass(frozen=True, init=False)
class Row(Node):
    items: tuple[Any, ...]
    scale: float = 1.0
    varargs: ClassVar[str | None] = "items"

    def __init__(self, *items: Any, scale: float = 1.0, label: str | None = None) -> None:
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "label", label)
        self.__post_init__()


def weight(label: Any) -> int:
    """A small number for any label; None, for a name that is not active, has one too."""
    return zlib.crc32(repr(label).encode()) % 7


def copies(*labels: Any) -> int:
    return sum(map(weight, labels)) % 3


def uneven(*labels: Any) -> bool:
    return sum(map(weight, labels)) % 3 != 0


def double(x: int | None) -> int | None:
    return None if x is None else 2 * x


def never(*_: Any) -> bool:
    return False


def by_address(decision: Decision) -> Any:
    """A label that depends on nothing but the address."""
    return decision.domain.at((zlib.crc32(decision.address.encode()) % 1000) / 1000)
