"""What a compiled space consists of: decisions, operations in order, and makers of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitruvius.space.domains import Domain, Kind
from vitruvius.space.node import Infeasible
from vitruvius.space.structure import Derived, Where

Point = dict[str, Any]
Choose = Callable[["Decision"], Any]
Maker = Callable[["Reading"], Any]


class Decision:
    """One decision of a space: where it stands and what it may be."""

    __slots__ = ("_blocks", "_contents", "address", "domain")

    def __init__(self, address: str, domain: Domain, contents: Callable[[Any], Block]) -> None:
        self.address, self.domain = address, domain
        self._contents = contents
        self._blocks: dict[tuple[type, Any], Block] = {}

    @property
    def kind(self) -> Kind:
        return self.domain.kind

    def block(self, label: Any) -> Block:
        """What the taken option brings."""
        key = (type(label), label)  # 1 and True are two labels
        block = self._blocks.get(key)
        if block is None:
            block = self._contents(label)
            if self.domain.kind in ("categorical", "ordered"):
                self._blocks[key] = block
        return block

    def __repr__(self) -> str:
        return f"Decision({self.address!r}, {self.domain!r})"


class Decide:
    """Operation: a decision is taken, unless it has been already."""

    __slots__ = ("decision",)

    def __init__(self, decision: Decision) -> None:
        self.decision = decision


class Enter:
    """Operation: what the taken option of a decision holds comes next."""

    __slots__ = ("decision",)

    def __init__(self, decision: Decision) -> None:
        self.decision = decision


class Force:
    """Operation: a decision with one label only, which others may read."""

    __slots__ = ("address", "label")

    def __init__(self, address: str, label: Any) -> None:
        self.address, self.label = address, label


class Gate:
    """Operation: the number of copies follows from named decisions, which come first."""

    __slots__ = ("address", "block", "derived", "inside")

    def __init__(
        self, address: str, derived: Derived, inside: frozenset[str], block: Callable[[int], Block]
    ) -> None:
        self.address, self.derived, self.inside, self.block = address, derived, inside, block

    def copies(self, reading: Reading) -> Block:
        """The copies behind the gate, once what it reads is known."""
        times = reading.compute(self.derived, self.address)
        if type(times) is not int or times < 0:
            raise ValueError(
                f"{self.address} must be a whole number, at least 0; "
                f"{self.derived.f.__name__} gave {times!r} for {reading.given(self.derived)}."
            )
        return self.block(times)


class Condition:
    """Operation: a condition that the design must meet."""

    __slots__ = ("address", "where")

    def __init__(self, address: str, where: Where) -> None:
        self.address, self.where = address, where

    def check(self, reading: Reading) -> None:
        """Raise Infeasible where the condition does not hold."""
        if not reading.compute(self.where, self.address):
            given = reading.given(self.where)
            raise Infeasible(self.address, f"{self.where.f.__name__} does not hold for {given}")


Operation = Decide | Enter | Force | Gate | Condition


class Block:
    """Operations in order, and how the value is made from a point."""

    __slots__ = ("make", "operations")

    def __init__(self, operations: tuple[Operation, ...], make: Maker) -> None:
        self.operations, self.make = operations, make


class Reading:
    """What makers and conditions read: a point, and the forced decisions of its design."""

    __slots__ = ("forced", "point")

    def __init__(self, point: Mapping[str, Any], forced: Mapping[str, Any]) -> None:
        self.point, self.forced = point, forced

    def name(self, name: str) -> Any:
        return self.point[name] if name in self.point else self.forced.get(name)

    def knows(self, names: Sequence[str]) -> bool:
        return all(name in self.point or name in self.forced for name in names)

    def given(self, derived: Derived) -> str:
        """What a derived value or condition reads, in words."""
        return ", ".join(f"{read} = {self.name(read)!r}" for read in derived.reads)

    def compute(self, derived: Derived, address: str) -> Any:
        values = [self.name(read) for read in derived.reads]
        try:
            return derived.f(*values)
        except ValueError as error:
            raise Infeasible(address, str(error)) from error
        except Exception as error:
            error.add_note(f"{address}: {derived.f.__name__} read {self.given(derived)}.")
            if None in values:
                error.add_note("A name that is not active in this design arrives as None.")
            raise


def next_gate(gates: Sequence[Gate], reading: Reading) -> int:
    """Which of the waiting gates opens: one whose reads are known, else one for which no other
    gate's copies can decide them any more."""
    for i, gate in enumerate(gates):
        if reading.knows(gate.derived.reads):
            return i
    for i, gate in enumerate(gates):
        others = set[str]().union(*(other.inside for other in gates if other is not gate))
        if not any(base(r) in others for r in gate.derived.reads if not reading.knows((r,))):
            return i
    return 0


def base(read: str) -> str:
    """The named decision that an address lies in: ``@a=B.c`` -> ``@a``."""
    return read.partition("=")[0].partition(".")[0]


class Splice(tuple[Any, ...]):
    """Items that take their place in the tuple around them."""


ABSENT = Splice()  # an optional that is not there: no item of a tuple, None in a field


def settled(value: Any) -> Any:
    """A made value where it stands alone: items as a plain tuple, an absent one as None."""
    if type(value) is Splice:
        return None if value is ABSENT else tuple(value)
    return value
