"""How many designs a space holds: exact and analytic, without enumerating them.

A sequence multiplies, a choice adds. Names that stand in several places, or that conditions and
numbers of copies read, tie places together: the sum runs over their labels, and parts that read
none of them are counted once and multiplied in.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vitruvius.space.domains import Choice, Domain
from vitruvius.space.node import Infeasible, Node, Open
from vitruvius.space.operations import (
    Block,
    Condition,
    Decide,
    Decision,
    Enter,
    Force,
    Gate,
    Operation,
    Reading,
    base,
    next_gate,
)
from vitruvius.space.points import label_at
from vitruvius.space.program import Program, compile
from vitruvius.space.structure import Derived, Grammar, Repeat, Where, parts

LIMIT = 1_000_000  # combinations of shared names that are enumerated before giving up


@dataclass(frozen=True)
class Count:
    """Points of a space, each real decision counted as one.

    ``exact`` is False where conditions read too many combinations: ``points`` is then an upper
    bound.
    ``reals`` is the number of real decisions in all branches together.
    """

    points: int
    exact: bool
    reals: int

    def __str__(self) -> str:
        about = "" if self.exact else "at most "
        reals = f", times {self.reals} real decision{'s' * (self.reals > 1)}" if self.reals else ""
        return f"{about}{self.points:,}{reals}"


def count(space: Any) -> Count:
    """The number of points. Designs that a node's check refuses are not subtracted."""
    program = compile(space)
    found = {decision.address: decision.domain for decision in program.unfold()}
    reals = sum(1 for domain in found.values() if domain.size is None)
    tied = _tied_names(program.space)
    forced = tied.repeated - found.keys()  # shown nowhere, but what they hold is shared
    tied = replace(tied, repeated=tied.repeated | {a for a in found if base(a) in forced})
    read = [domain.size for address, domain in found.items() if address in tied.conditioned]
    if None not in read and math.prod(size or 1 for size in read) <= LIMIT:
        with contextlib.suppress(_TooMany):
            return Count(_Counter(program, tied, conditions=True).total(), True, reals)
    try:
        return Count(_Counter(program, tied, conditions=False).total(), False, reals)
    except _TooMany:
        raise ValueError(
            "This space cannot be counted: numbers of copies or shared names take more than "
            f"{LIMIT:,} combinations, or follow from a real number. Restrict what they read."
        ) from None


class _TooMany(Exception):
    pass


@dataclass(frozen=True, eq=False)
class _Rest:
    """Operations still to come, and what comes after them. Compared by identity."""

    operations: tuple[Operation, ...]
    start: int
    then: _Rest | None


class _State(NamedTuple):
    labels: frozenset[tuple[str, Any]]
    entered: frozenset[int]
    conditions: tuple[Condition, ...]
    gates: tuple[Gate, ...]
    absent: frozenset[str] = frozenset()  # names that opened gates read and that were not active


@dataclass(frozen=True)
class _Tied:
    repeated: frozenset[str]  # decisions that stand in several places
    shaping: frozenset[str]  # names that numbers of copies are or follow from
    conditioned: frozenset[str]  # names that conditions read


class _Counter:
    def __init__(self, program: Program, tied: _Tied, conditions: bool) -> None:
        self.program, self.conditions = program, conditions
        self.told_apart = tied.shaping | (tied.conditioned if conditions else frozenset())
        self.tied = tied.repeated | self.told_apart
        self.known: dict[tuple[_Rest | None, _State], int] = {}
        self.rests: dict[tuple[int, int, _Rest | None], _Rest] = {}
        self.free: dict[int, tuple[Block, bool]] = {}
        self.alone: dict[int, int] = {}
        self.steps = 0

    def total(self) -> int:
        start = _State(frozenset(), frozenset(), (), ())
        return self.run(self.rest(self.program.root.operations, 0, None), start)

    def rest(
        self, operations: tuple[Operation, ...], start: int, then: _Rest | None
    ) -> _Rest | None:
        if start >= len(operations):
            return then
        key = (id(operations), start, then)
        if key not in self.rests:
            self.rests[key] = _Rest(operations, start, then)
        return self.rests[key]

    def run(self, rest: _Rest | None, state: _State) -> int:
        key = (rest, state)
        if key not in self.known:
            self.steps += 1
            if self.steps > LIMIT:
                raise _TooMany
            self.known[key] = self.step(rest, state)
        return self.known[key]

    def step(self, rest: _Rest | None, state: _State) -> int:
        factor = 1
        while rest is not None:
            operation = rest.operations[rest.start]
            after = self.rest(rest.operations, rest.start + 1, rest.then)
            if isinstance(operation, Decide):
                address, domain = operation.decision.address, operation.decision.domain
                if address in self.tied and address not in dict(state.labels):
                    if address not in self.told_apart and not isinstance(domain, Choice):
                        factor *= domain.size or 1  # its value changes nothing else
                        state = self.told(state, address, None)
                    else:
                        return factor * sum(
                            self.run(after, self.told(state, address, label))
                            for label in _labels(operation.decision)
                        )
            elif isinstance(operation, Enter):
                decision = operation.decision
                if decision.address in self.tied:
                    if id(decision) not in state.entered:  # a name's contents are decided once
                        block = decision.block(dict(state.labels)[decision.address])
                        if block.operations:
                            state = state._replace(entered=state.entered | {id(decision)})
                            after = self.rest(block.operations, 0, after)
                elif self.is_free(decision):
                    factor *= self.count_alone(decision)
                else:
                    return factor * sum(
                        self.run(self.rest(decision.block(label).operations, 0, after), state)
                        for label in _labels(decision)
                    )
            elif isinstance(operation, Force):
                if operation.address in self.told_apart:
                    state = self.told(state, operation.address, operation.label)
            elif isinstance(operation, Gate):
                state = state._replace(gates=(*state.gates, operation))
            elif self.conditions:
                state = state._replace(conditions=(*state.conditions, operation))
            rest = after
        labels = dict(state.labels)
        reading = Reading(labels, {})
        if state.gates:
            at = next_gate(state.gates, reading)
            gate, gates = state.gates[at], state.gates[:at] + state.gates[at + 1 :]
            absent = {read for read in gate.derived.reads if not reading.knows((read,))}
            try:
                block = gate.copies(reading)
            except Infeasible:
                return 0
            left = state._replace(gates=gates, absent=state.absent | absent)
            return factor * self.run(self.rest(block.operations, 0, None), left)
        if state.absent & labels.keys():
            return 0
        try:
            for condition in state.conditions:
                condition.check(reading)
        except Infeasible:
            return 0
        return factor

    def told(self, state: _State, address: str, label: Any) -> _State:
        return state._replace(labels=state.labels | {(address, label)})

    def is_free(self, decision: Decision) -> bool:
        """True where nothing in the branches of a decision ties it to other places."""
        return all(self.is_free_block(decision.block(label)) for label in _widest(decision))

    def is_free_block(self, block: Block) -> bool:
        if id(block) not in self.free:
            free = True
            for operation in block.operations:
                if isinstance(operation, Force):
                    free = free and operation.address not in self.told_apart
                elif (
                    isinstance(operation, (Gate, Condition))
                    or operation.decision.address in self.tied
                ):
                    free = False
                elif isinstance(operation, Enter):
                    free = free and self.is_free(operation.decision)
            self.free[id(block)] = (block, free)  # the block is kept, so that its id stays its own
        return self.free[id(block)][1]

    def count_alone(self, decision: Decision) -> int:
        if id(decision) not in self.alone:
            domain = decision.domain
            if domain.size is None:
                total = 1
            elif not isinstance(domain, Choice) and not _copies(decision):
                total = domain.size
            else:
                total = 0
                for label in _labels(decision):
                    product = 1
                    for operation in decision.block(label).operations:
                        if isinstance(operation, Enter):
                            product *= self.count_alone(operation.decision)
                    total += product
            self.alone[id(decision)] = total
        return self.alone[id(decision)]


def _copies(decision: Decision) -> bool:
    """True where the label is a number of copies, each of which brings decisions."""
    domain = decision.domain
    return not isinstance(domain, Choice) and bool(decision.block(domain.at(1.0)).operations)


def _labels(decision: Decision) -> list[Any]:
    size = decision.domain.size
    if size is None or size > LIMIT:
        raise _TooMany
    return [label_at(decision, i) for i in range(size)]


def _widest(decision: Decision) -> list[Any]:
    domain = decision.domain
    return list(domain.labels) if isinstance(domain, Choice) else [domain.at(1.0)]


def _tied_names(space: Any) -> _Tied:
    places: dict[str, int] = {}
    shaping: set[str] = set()
    conditioned: set[str] = set()

    def visit(value: Any, times: int) -> None:
        if isinstance(value, Where):
            conditioned.update(value.reads)
        if isinstance(value, Domain) and value.name:
            places[value.name] = places.get(value.name, 0) + times
        if isinstance(value, Repeat):
            if isinstance(value.times, Derived):
                shaping.update(value.times.reads)
            elif isinstance(value.times, Domain) and value.times.name:
                shaping.add(f"@{value.times.name}")
        if (isinstance(value, Repeat) and not value.tied) or isinstance(value, Grammar):
            times *= 2
        for part in parts(value):
            if isinstance(part, (Node, Open, tuple)):
                visit(part, times)

    visit(space, 1)
    repeated = frozenset(f"@{name}" for name, number in places.items() if number > 1)
    return _Tied(repeated, frozenset(shaping), frozenset(conditioned))
