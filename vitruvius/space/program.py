"""A space compiled to a flat program, which decides points and builds their designs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from vitruvius.space.checking import check_space, near
from vitruvius.space.compiling import Compiler, Context
from vitruvius.space.domains import Choice, Integers, names_in
from vitruvius.space.node import Infeasible, Node, Open
from vitruvius.space.operations import (
    Block,
    Choose,
    Condition,
    Decide,
    Decision,
    Enter,
    Force,
    Gate,
    Operation,
    Point,
    Reading,
    base,
    next_gate,
)
from vitruvius.space.structure import Restricted

__all__ = ["Choose", "Decision", "Point", "Program", "compile", "near"]


class Program:
    """All decisions of a space, found as they are first visited."""

    def __init__(self, space: Any) -> None:
        limits: dict[str, list[tuple[Any, ...]]] = {}
        root = space
        while isinstance(root, Restricted):
            for address, allowed in root.limits.items():
                limits.setdefault(address, []).insert(0, allowed)  # the innermost comes first
            root = root.space
        self.space, self.limits = space, limits
        self.reads = check_space(root)
        self.names = names_in(root)
        self._compiler = Compiler(limits, self.reads)
        self.root = self._compiler.root(root, Context(None, 0))
        self._check_inner_reads()

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """The decisions visited so far, by address."""
        return self._compiler.decisions

    # ------------------------------------------------------------------ running

    def walk(self, choose: Choose) -> Point:
        """Take each active decision, in order. Raises Infeasible where a condition fails."""
        walk = _Walk(choose)
        walk.through(self.root.operations)
        walk.open_gates()
        reading = Reading(walk.point, walk.forced)
        for condition in walk.conditions:
            condition.check(reading)
        return walk.point

    def build(self, point: Mapping[str, Any]) -> Any:
        """The decided tree of a complete point. Raises Infeasible where a node's check refuses."""
        forced: Mapping[str, Any] = {}
        if self.reads:
            walk = _Walk(lambda decision: point[decision.address])
            walk.through(self.root.operations)
            walk.open_gates()
            forced = walk.forced
        return self.root.make(Reading(point, forced))

    def sample(self, rng: Random, attempts: int = 1000, built: bool = False) -> Point:
        """A random point that meets every condition and, where ``built``, every node's check."""
        choose: Choose = lambda decision: decision.domain.sample(rng)  # noqa: E731
        last: Infeasible | None = None
        for _ in range(attempts):
            try:
                point = self.walk(choose)
                if built:
                    self.build(point)
                return point
            except Infeasible as error:
                last = error
        raise ValueError(
            f"{attempts:,} random points in a row were infeasible; the last because of {last}. "
            "Loosen the condition, or restrict the space to where a design can be."
        )

    def unfold(self, limit: int = 10_000) -> Iterator[Decision]:
        """Every decision that some point can reach, at most ``limit`` of them."""
        for operation in self._operations(limit):
            if isinstance(operation, Decide):
                yield operation.decision

    def _operations(self, limit: int) -> Iterator[Decide | Force]:
        seen: set[str] = set()
        todo: list[Operation] = list(reversed(self.root.operations))
        while todo and len(seen) < limit:
            operation = todo.pop()
            if isinstance(operation, (Decide, Force)):
                decide = isinstance(operation, Decide)
                address = operation.decision.address if decide else operation.address
                if address not in seen:
                    seen.add(address)
                    yield operation
            elif isinstance(operation, Enter):
                domain = operation.decision.domain
                labels = domain.labels if isinstance(domain, Choice) else ()
                if isinstance(domain, Integers) and domain.high <= limit:
                    labels = (domain.high,)  # the most copies hold all others
                for label in reversed(labels):
                    todo.extend(reversed(operation.decision.block(label).operations))
            elif isinstance(operation, Gate):
                todo.extend(reversed(operation.block(self._most_copies(operation)).operations))

    def _most_copies(self, gate: Gate, limit: int = 1000) -> int:
        """The most copies that a gate can open for, as far as what it reads can be listed."""
        known: list[tuple[Any, ...]] = []
        for read in gate.derived.reads:
            domain = self.names.get(base(read)[1:]) if "=" not in read else None
            labels: tuple[Any, ...] = (None,)
            if isinstance(domain, Choice):
                labels = (None, *domain.labels)
            elif isinstance(domain, Integers) and domain.size <= limit:
                labels = (None, *range(domain.low, domain.high + 1))
            known.append(labels)
        most = 1
        for values in itertools.islice(itertools.product(*known), limit):
            try:
                times = gate.derived.f(*values)
            except Exception:  # not every combination need occur in a design
                continue
            most = max(most, times) if type(times) is int and times <= limit else most
        return most

    def _check_inner_reads(self) -> None:
        """Refuse reads inside a named decision, ``@a=B.c``, that stand nowhere."""
        inner = {read for read in self.reads if read != base(read)}
        if not inner:
            return
        found = [
            o.decision.address if isinstance(o, Decide) else o.address
            for o in self._operations(10_000)
        ]
        for read in sorted(inner - set(found)) if len(found) < 10_000 else ():
            raise ValueError(
                f"A condition or derived value reads {read!r}, but the space has no such decision. "
                + near(read, [address for address in found if address.startswith("@")])
            )


class _Walk:
    """One walk through the operations: what is decided, forced and still waits."""

    __slots__ = ("choose", "conditions", "forced", "gates", "point")

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.point: Point = {}
        self.forced: dict[str, Any] = {}
        self.gates: list[Gate] = []
        self.conditions: list[Condition] = []

    def through(self, operations: tuple[Operation, ...]) -> None:
        point = self.point
        for operation in operations:
            kind = type(operation)
            if kind is Decide:
                decision = operation.decision  # type: ignore[union-attr]
                address = decision.address
                if address not in point:
                    label = self.choose(decision)
                    domain = decision.domain
                    if not domain.contains(label):
                        raise ValueError(f"{address} cannot be {label!r}; it is {domain!r}.")
                    point[address] = float(label) if domain.kind == "real" else label
            elif kind is Enter:
                decision = operation.decision  # type: ignore[union-attr]
                block: Block = decision.block(point[decision.address])
                if block.operations:
                    self.through(block.operations)
            elif kind is Force:
                self.forced[operation.address] = operation.label  # type: ignore[union-attr]
            elif kind is Gate:
                gate: Gate = operation  # type: ignore[assignment]
                reading = Reading(point, self.forced)
                if reading.knows(gate.derived.reads):
                    self.through(gate.copies(reading).operations)
                else:
                    self.gates.append(gate)
            else:
                self.conditions.append(operation)  # type: ignore[arg-type]

    def open_gates(self) -> None:
        """Enter the copies whose number was not known when they were met.

        Where a name that a gate reads is not active, its copies follow from None; a design in
        which they would then decide that very name has no meaning and is Infeasible.
        """
        reading = Reading(self.point, self.forced)
        absent: list[tuple[str, Gate]] = []
        while self.gates:
            gate = self.gates.pop(next_gate(self.gates, reading))
            absent.extend((r, gate) for r in gate.derived.reads if not reading.knows((r,)))
            self.through(gate.copies(reading).operations)
        for read, gate in absent:
            if reading.knows((read,)):
                raise Infeasible(
                    gate.address, f"the number of copies reads {read}, which they decide themselves"
                )


def compile(space: Any) -> Program:
    """The program of a space, made once for each tree."""
    if not isinstance(space, (Node, Open, tuple)):
        hint = ""
        if isinstance(space, type) and issubclass(space, Node):
            hint = f" Did you mean {space.__name__}.space()?"
        raise TypeError(
            f"A space is a node, a tuple or a domain; got {getattr(space, '__name__', space)!r}."
            f"{hint}"
        )
    if isinstance(space, tuple):
        return _compile_tuple(space)
    program = space.__dict__.get("_program")
    if program is None:
        program = Program(space)
        object.__setattr__(space, "_program", program)
    return program


def _compile_tuple(space: tuple[Any, ...]) -> Program:
    """A tuple cannot hold its program, so that the last ones are kept beside, by identity."""
    known, program = _TUPLES.pop(id(space), (None, None))
    if known is not space or program is None:
        program = Program(space)
    _TUPLES[id(space)] = (space, program)
    while len(_TUPLES) > 16:
        _TUPLES.pop(next(iter(_TUPLES)), None)
    return program


_TUPLES: dict[int, tuple[tuple[Any, ...], Program]] = {}
