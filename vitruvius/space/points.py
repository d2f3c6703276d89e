"""Points of a space: deciding, replaying, and moving from one to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from vitruvius.space.checking import near
from vitruvius.space.domains import Integers
from vitruvius.space.node import Infeasible, Node, same
from vitruvius.space.operations import Choose, Decision, Point
from vitruvius.space.program import compile
from vitruvius.space.structure import Restricted

T = TypeVar("T")


def decide(space: T, choose: Choose) -> T:
    """The design that ``choose(decision) -> label`` leads to. The space is left as it is.

    Raises Infeasible where a condition or a node's check refuses the design.
    """
    program = compile(space)
    return program.build(program.walk(choose))


def sample(space: Any, rng: Random, attempts: int = 1000) -> Point:
    """A random point whose design meets all conditions and checks."""
    return compile(space).sample(rng, attempts, built=True)


def replay(space: T, point: Mapping[str, Any]) -> T:
    """The design of a complete point. Raises ValueError where point and space do not fit."""
    program = compile(space)

    def choose(decision: Decision) -> Any:
        try:
            return point[decision.address]
        except KeyError:
            raise ValueError(
                f"The point decides nothing for {decision.address!r}. "
                "To keep what fits and decide the rest anew, use carry(space, point, choose)."
            ) from None

    taken = program.walk(choose)
    for address in point:
        if address not in taken:
            raise ValueError(
                f"The point decides {address!r}, which is no decision of this design. "
                + near(address, list(taken))
                + " To drop what is gone, use carry(space, point, choose)."
            )
    return program.build(taken)


def carry(space: Any, point: Mapping[str, Any], choose: Choose) -> Point:
    """A point in an edited space: what still fits is kept, what is new is decided by ``choose``,
    what is gone is dropped. Raises Infeasible where a condition of the space fails."""

    def keep(decision: Decision) -> Any:
        address = decision.address
        if address in point and decision.domain.contains(point[address]):
            return point[address]
        return choose(decision)

    return compile(space).walk(keep)


def enumerate_points(space: Any) -> Iterator[Point]:
    """Every point that meets the conditions, in the order of decisions. Raises on real domains."""
    program = compile(space)
    prefix: list[tuple[Decision, int]] = []
    while True:
        taken: list[tuple[Decision, int]] = []

        def choose(
            decision: Decision,
            prefix: list[tuple[Decision, int]] = prefix,
            taken: list[tuple[Decision, int]] = taken,
        ) -> Any:
            if decision.domain.size is None:
                raise ValueError(
                    f"{decision.address} is a real number ({decision.domain!r}): its values cannot "
                    "be enumerated. Restrict it, or write one_of over a few values."
                )
            step = prefix[len(taken)][1] if len(taken) < len(prefix) else 0
            taken.append((decision, step))
            return label_at(decision, step)

        try:
            point = program.walk(choose)
        except Infeasible:
            pass
        else:
            yield point
        while taken and taken[-1][1] + 1 >= (taken[-1][0].domain.size or 0):
            taken.pop()
        if not taken:
            return
        decision, step = taken.pop()
        prefix = [*taken, (decision, step + 1)]


def label_at(decision: Decision, index: int) -> Any:
    """The label number ``index`` of a decision that is not real."""
    domain = decision.domain
    return domain.low + index if isinstance(domain, Integers) else domain.labels[index]  # type: ignore[attr-defined]


def neighbours(space: Any, point: Mapping[str, Any], rng: Random) -> Iterator[Point]:
    """Points that differ in one decision, which moves to a label next to its own.

    What the move brings anew is drawn from rng; points that break a condition are left out.
    """
    for decision in decisions_of(space, point):
        for label in decision.domain.neighbours(point[decision.address]):
            moved = {**point, decision.address: label}
            try:
                yield carry(space, moved, lambda d: d.domain.sample(rng))
            except Infeasible:
                continue


_LISTED = 10_000


def restrict(space: T, limits: Mapping[str, Any]) -> T:
    """The space with decisions limited by address: to one label, or to a tuple of labels.

    For numbers a tuple (low, high) is a range. Addresses and labels stay as they are.
    """
    kept: dict[str, tuple[Any, ...]] = {}
    for address, allowed in limits.items():
        kept[address] = allowed if isinstance(allowed, tuple) else (allowed,)
        if not kept[address]:
            raise ValueError(f"restrict: {address} is limited to nothing.")
    known = {decision.address: decision for decision in compile(space).unfold(_LISTED)}
    for address, allowed in kept.items():
        if address not in known:
            if len(known) == _LISTED:
                continue  # too many to list them all: checked where the decision is met
            raise ValueError(
                f"restrict: the space has no decision {address!r}. {near(address, list(known))}"
            )
        try:
            known[address].domain.limit(allowed)
        except ValueError as error:
            raise ValueError(f"restrict: {address}: {error}") from None
    restricted: Any = Restricted(space, kept)
    compile(restricted)
    return restricted


@dataclass(frozen=True)
class Change:
    """One difference between two points, designs or spaces; None where there is nothing."""

    address: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.address}: {self.before!r} -> {self.after!r}"


def diff(before: Any, after: Any) -> tuple[Change, ...]:
    """What differs between two points (mappings), designs or spaces, by address."""
    ours, theirs = _leaves(before), _leaves(after)
    changes = []
    for address in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(address), theirs.get(address)
        if (address in ours) != (address in theirs) or not same(a, b):
            changes.append(Change(address, a, b))
    return tuple(changes)


def _leaves(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, Any] = {}

    def visit(address: str, part: Any) -> None:
        if isinstance(part, Node):
            found[address or "."] = type(part).__name__
            for f in dataclasses.fields(part):
                if f.name != "label":
                    visit(f"{address}.{f.name}" if address else f.name, getattr(part, f.name))
        elif isinstance(part, tuple):
            for i, item in enumerate(part, 1):
                visit(f"{address}.{i}", item)
        else:
            found[address] = part

    visit("", value)
    return found


def decisions_of(space: Any, point: Mapping[str, Any]) -> Sequence[Decision]:
    """The decisions that a point takes, in their order."""
    found: list[Decision] = []
    compile(space).walk(lambda decision: (found.append(decision), point[decision.address])[1])
    return found
