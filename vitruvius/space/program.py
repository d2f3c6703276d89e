"""A space compiled to a flat program, unfolded where it is first visited.

Each place of the tree becomes operations (what to decide, what to enter) and a maker (how to build
the value from a point). Both come from one walk over the tree, so that an address is made in one
place only. A branch that no point has taken yet costs nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from vitruvius.space.domains import (
    Choice,
    Derived,
    Domain,
    Grammar,
    Kind,
    Ref,
    Repeat,
    Restricted,
    Where,
    names_in,
    parts,
    snake,
    word_of,
)
from vitruvius.space.node import Infeasible, Node, Open, field_names, make

Point = dict[str, Any]
Label = bool | int | float | str | None
Choose = Callable[["Decision"], Any]
Read = Callable[[str], Any]
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


class Gate:
    """Operation: the number of copies follows from named decisions, which come first."""

    __slots__ = ("address", "block", "derived")

    def __init__(self, address: str, derived: Derived, block: Callable[[int], Block]) -> None:
        self.address, self.derived, self.block = address, derived, block


class Condition:
    """Operation: a condition that the design must meet."""

    __slots__ = ("address", "where")

    def __init__(self, address: str, where: Where) -> None:
        self.address, self.where = address, where


Operation = Decide | Enter | Gate | Condition


class Block:
    """Operations in order, and how the value is made from a point."""

    __slots__ = ("make", "operations")

    def __init__(self, operations: tuple[Operation, ...], make: Maker) -> None:
        self.operations, self.make = operations, make


class Reading:
    """A point with the forced named decisions beside it: what makers and conditions read."""

    __slots__ = ("forced", "point")

    def __init__(self, point: Mapping[str, Any], forced: Mapping[str, Any]) -> None:
        self.point, self.forced = point, forced

    def name(self, name: str) -> Any:
        return self.point[name] if name in self.point else self.forced.get(name)

    def compute(self, derived: Derived, address: str) -> Any:
        try:
            return derived.f(*map(self.name, derived.reads))
        except ValueError as error:
            raise Infeasible(address, str(error)) from error


class Splice(tuple[Any, ...]):
    """Items that take their place in the tuple around them."""


ABSENT = Splice()  # an optional that is not there: no item of a tuple, None in a field


class Context:
    """Where in a grammar a part stands: the rules, and how many references may still nest."""

    __slots__ = ("grammar", "left")

    def __init__(self, grammar: Grammar | None, left: float) -> None:
        self.grammar, self.left = grammar, left

    def allows(self, option: Any) -> bool:
        return self.grammar is None or self.grammar.need(option) <= self.left


class Program:
    """All decisions of a space, found as they are first visited."""

    def __init__(self, space: Any) -> None:
        limits: dict[str, tuple[Any, ...]] = {}
        root = space
        while isinstance(root, Restricted):
            for address, allowed in root.limits.items():
                limits[address] = tuple(
                    x for x in allowed if address not in limits or x in limits[address]
                )
            root = root.space
        self.space = space
        self.limits = limits
        self.decisions: dict[str, Decision] = {}
        self.forced: dict[str, Any] = {}
        _check_reads(root)
        self.root = self._item("", root, Context(None, 0), {})

    # ------------------------------------------------------------------ running

    def walk(self, choose: Choose) -> Point:
        """Take each active decision, in order. Raises Infeasible where a condition fails."""
        point: Point = {}
        gates: list[Gate] = []
        conditions: list[Condition] = []
        self._run(self.root.operations, choose, point, gates, conditions)
        while gates:
            ready = (
                i
                for i, g in enumerate(gates)
                if all(self._known(r, point) for r in g.derived.reads)
            )
            gate = gates.pop(next(ready, 0))
            self._run(self.gate_block(gate, point).operations, choose, point, gates, conditions)
        if conditions:
            self.check(conditions, point)
        return point

    def _run(
        self,
        operations: tuple[Operation, ...],
        choose: Choose,
        point: Point,
        gates: list[Gate],
        conditions: list[Condition],
    ) -> None:
        for operation in operations:
            kind = type(operation)
            if kind is Decide:
                decision = operation.decision  # type: ignore[union-attr]
                address = decision.address
                if address not in point:
                    label = choose(decision)
                    if not decision.domain.contains(label):
                        raise ValueError(
                            f"{address} cannot be {label!r}; it is decided by {decision.domain!r}."
                        )
                    point[address] = label
            elif kind is Enter:
                decision = operation.decision  # type: ignore[union-attr]
                block = decision.block(point[decision.address])
                if block.operations:
                    self._run(block.operations, choose, point, gates, conditions)
            elif kind is Gate:
                gate: Gate = operation  # type: ignore[assignment]
                if all(self._known(read, point) for read in gate.derived.reads):
                    block = self.gate_block(gate, point)
                    self._run(block.operations, choose, point, gates, conditions)
                else:
                    gates.append(gate)
            else:
                conditions.append(operation)  # type: ignore[arg-type]

    def _known(self, name: str, point: Mapping[str, Any]) -> bool:
        return name in point or name in self.forced

    def gate_block(self, gate: Gate, point: Mapping[str, Any]) -> Block:
        """The copies behind a gate, once what it reads is known."""
        times = Reading(point, self.forced).compute(gate.derived, gate.address)
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise ValueError(
                f"{gate.address} is derived as {times!r}; it must be a whole number, at least 0."
            )
        return gate.block(times)

    def check(self, conditions: list[Condition], point: Mapping[str, Any]) -> None:
        """Raise Infeasible at the first condition that the point does not meet."""
        reading = Reading(point, self.forced)
        for condition in conditions:
            where = condition.where
            values = [reading.name(read) for read in where.reads]
            if not where.f(*values):
                given = ", ".join(f"{r} = {v!r}" for r, v in zip(where.reads, values, strict=True))
                raise Infeasible(condition.address, f"{where.f.__name__} does not hold for {given}")

    def build(self, point: Mapping[str, Any]) -> Any:
        """The decided tree of a complete point. Raises Infeasible where a node's check refuses."""
        return self.root.make(Reading(point, self.forced))

    def sample(self, rng: Random, attempts: int = 1000) -> Point:
        """A random point that meets every condition; whether its nodes agree, ``build`` says."""
        choose: Choose = lambda decision: decision.domain.sample(rng)  # noqa: E731
        last: Infeasible | None = None
        for _ in range(attempts):
            try:
                return self.walk(choose)
            except Infeasible as error:
                last = error
        raise ValueError(
            f"{attempts} random points in a row were infeasible; the last because of {last}. "
            "Loosen the condition, or restrict the space to where it holds."
        )

    def unfold(self, limit: int = 10_000) -> Iterator[Decision]:
        """Every decision that some point can reach, at most ``limit`` of them."""
        seen: set[str] = set()
        todo: list[Operation] = list(reversed(self.root.operations))
        while todo and len(seen) < limit:
            operation = todo.pop()
            if isinstance(operation, Decide):
                decision = operation.decision
                if decision.address in seen:
                    continue
                seen.add(decision.address)
                yield decision
            elif isinstance(operation, Enter):
                domain = operation.decision.domain
                labels = domain.labels if isinstance(domain, Choice) else ()
                if domain.kind == "integer" and domain.size is not None and domain.size <= limit:
                    labels = (domain.at(1.0),)  # the most copies hold all others
                for label in reversed(labels):
                    todo.extend(reversed(operation.decision.block(label).operations))
            elif isinstance(operation, Gate):
                todo.extend(reversed(operation.block(1).operations))

    # ---------------------------------------------------------------- compiling

    def _item(self, address: str, value: Any, context: Context, used: dict[str, int]) -> Block:
        """A part that stands as an item: a tuple's, or the root. A domain adds its word."""
        if isinstance(value, Node):
            key = (
                _unique(value.label or snake(type(value).__name__), used) if address or used else ""
            )
            return self._node(_join(address, key), value, context)
        if isinstance(value, Ref):
            return self._part(_join(address, _unique(word_of(value), used)), value, context)
        if isinstance(value, Grammar):
            inner = Context(value, value.depth)
            return self._item(address, value.rules[value.start], inner, used)
        if isinstance(value, Where):
            return Block((Condition(_join(address, "where"), value),), lambda _: Splice())
        if isinstance(value, Open):
            word = value.label or value.word  # type: ignore[attr-defined]
            return self._part(_join(address, _unique(word, used)), value, context)
        return self._part(address, value, context)

    def _part(self, address: str, value: Any, context: Context) -> Block:
        """A part that stands at an address of its own: a field, an option, a copy."""
        if isinstance(value, Node):
            return self._node(address, value, context)
        if isinstance(value, tuple):
            return self._tuple(address, value, context)
        if isinstance(value, Domain):
            decision, block = self._domain(address, value, context)
            if decision is None:
                return block
            return Block((Decide(decision), Enter(decision)), block.make)
        if isinstance(value, Repeat):
            return self._repeat(address, value, context)
        if isinstance(value, Derived):
            if isinstance(value, Where):
                raise TypeError(
                    f"{address}: where(...) stands as an item of a tuple, not in a field."
                )
            return Block((), lambda reading: reading.compute(value, address))
        if isinstance(value, Ref):
            if context.grammar is None:
                raise ValueError(f"{address}: {value!r} stands outside of a grammar.")
            inner = Context(context.grammar, context.left - 1)
            return self._part(address, context.grammar.rules[value.rule], inner)
        if isinstance(value, Grammar):
            inner = Context(value, value.depth)
            return self._part(address, value.rules[value.start], inner)
        if isinstance(value, Restricted):
            raise ValueError(f"{address}: a restricted space stands at the root only.")
        return Block((), lambda _: value)

    def _domain(
        self, address: str, domain: Domain, context: Context
    ) -> tuple[Decision | None, Block]:
        """The decision of a domain (None where it is forced), and how its value is made."""
        address = f"@{domain.name}" if domain.name else address
        if isinstance(domain, Choice) and context.grammar is not None:
            fitting = [
                label
                for label, option in zip(domain.labels, domain.options, strict=True)
                if context.allows(option)
            ]
            if len(fitting) < len(domain.labels):
                domain = domain.limit(fitting)
        if address in self.limits:
            try:
                domain = domain.limit(self.limits[address])
            except ValueError as error:
                raise ValueError(f"{address}: {error}") from None
        contents = self._contents(address, domain, context)
        if domain.size == 1:
            label = domain.at(0.0)
            if domain.name:
                self.forced[address] = label
            return None, contents(label)
        decision = self.decisions.get(address)
        if decision is None:
            decision = self.decisions[address] = Decision(address, domain, contents)
        take = decision.block

        def make_option(reading: Reading) -> Any:
            return take(reading.point[address]).make(reading)

        return decision, Block((), make_option)

    def _contents(self, address: str, domain: Domain, context: Context) -> Callable[[Any], Block]:
        if not isinstance(domain, Choice):
            return lambda label: Block((), lambda _: label)

        def content(label: Any) -> Block:
            option = domain.option(label)
            if not isinstance(option, (Node, Open, tuple)):
                value = ABSENT if option is None and domain.word == "optional" else option
                return Block((), lambda _: value)
            block = self._part(f"{address}={label}", option, context)
            if domain.word != "either_order":
                return block
            inner = block.make
            return Block(block.operations, lambda reading: Splice(inner(reading)))

        return content

    def _node(self, address: str, node: Node, context: Context) -> Block:
        if node.decided:
            return Block((), lambda _: node)
        first: list[Operation] = []  # a node's own decisions
        later: list[Operation] = []  # then what they hold
        fixed: dict[str, Any] = {}
        makers: list[tuple[str, Maker]] = []
        used: dict[str, int] = {}
        for name in field_names(type(node)):
            value = getattr(node, name)
            varargs = name == node.varargs
            if isinstance(value, Domain):
                decision, block = self._domain(_join(address, name), value, context)
                if decision is None:
                    later.extend(block.operations)
                else:
                    first.append(Decide(decision))
                    later.append(Enter(decision))
            elif isinstance(value, (Node, Open, tuple)):
                if varargs and isinstance(value, tuple):
                    block = self._tuple(address, value, context, used)
                else:
                    block = self._part(_join(address, name), value, context)
                later.extend(block.operations)
            else:
                fixed[name] = value
                continue
            makers.append((name, block.make))
        cls = type(node)

        def make_node(reading: Reading) -> Node:
            fields = dict(fixed)
            for name, maker in makers:
                value = maker(reading)
                if type(value) is Splice:
                    value = None if value is ABSENT else tuple(value)
                fields[name] = value
            try:
                return make(cls, fields)
            except ValueError as error:
                raise Infeasible(address, str(error)) from error

        return Block((*first, *later), make_node)

    def _tuple(
        self,
        address: str,
        items: tuple[Any, ...],
        context: Context,
        used: dict[str, int] | None = None,
    ) -> Block:
        used = {} if used is None else used
        used.setdefault("", 1)  # an item is never the root
        blocks = [self._item(address, item, context, used) for item in items]
        makers = [block.make for block in blocks]

        def make_tuple(reading: Reading) -> tuple[Any, ...]:
            values: list[Any] = []
            for maker in makers:
                value = maker(reading)
                if type(value) is Splice:
                    values.extend(value)
                else:
                    values.append(value)
            return tuple(values)

        return Block(tuple(o for block in blocks for o in block.operations), make_tuple)

    def _repeat(self, address: str, repeat: Repeat, context: Context) -> Block:
        copies: dict[int, Block] = {}
        totals: dict[int, Block] = {}

        def copy(number: int) -> Block:
            if number not in copies:
                place = _join(address, "*" if repeat.tied else str(number))
                copies[number] = self._part(place, repeat.body, context)
            return copies[number]

        def copied(times: int) -> Block:
            if times not in totals:
                blocks = [copy(1 if repeat.tied else i + 1) for i in range(times)]
                walked = blocks[:1] if repeat.tied else blocks
                operations = tuple(o for block in walked for o in block.operations)

                def make_copies(reading: Reading) -> Splice:
                    values: list[Any] = []
                    for block in blocks:
                        value = block.make(reading)
                        values.extend(value) if type(value) is Splice else values.append(value)
                    return Splice(values)

                totals[times] = Block(operations, make_copies)
            return totals[times]

        times = repeat.times
        place = _join(address, "times")
        if isinstance(times, Derived):
            gate = Gate(place, times, copied)

            def make_gated(reading: Reading) -> Any:
                return copied(reading.compute(times, place)).make(reading)

            return Block((gate,), make_gated)
        if isinstance(times, int):
            return copied(times)
        decision, block = self._domain(place, times, context)
        if decision is None:
            return copied(block.make(Reading({}, self.forced)))
        entered = Decision(decision.address, decision.domain, copied)
        make_times = block.make
        return Block(
            (Decide(decision), Enter(entered)),
            lambda reading: copied(make_times(reading)).make(reading),
        )


def compile(space: Any) -> Program:
    """The program of a space, made once for each tree."""
    if not isinstance(space, (Node, Open, tuple)):
        raise TypeError(f"A space is a node, a tuple or a domain; got {type(space).__name__}.")
    if isinstance(space, tuple):
        return Program(space)
    program = space.__dict__.get("_program")
    if program is None:
        program = Program(space)
        object.__setattr__(space, "_program", program)
    return program


def near(word: str, known: list[str]) -> str:
    """A hint for a misspelt word: what is near, or what there is."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    return f"There is {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."


def _join(address: str, key: str) -> str:
    return f"{address}.{key}" if address and key else address or key


def _unique(key: str, used: dict[str, int]) -> str:
    used[key] = used.get(key, 0) + 1
    return key if used[key] == 1 else f"{key}_{used[key]}"


def _check_reads(root: Any) -> None:
    """Refuse reads of names that nowhere stand, and numbers of copies that wait for themselves."""
    known = [f"@{name}" for name in names_in(root)]
    gates_of: dict[str, set[int] | None] = {}
    reads_of: dict[int, tuple[str, ...]] = {}

    def visit(value: Any, gates: frozenset[int]) -> None:
        if isinstance(value, Derived):
            for read in value.reads:
                if read.split("=")[0].split(".")[0] not in known:
                    raise ValueError(
                        f"{value!r} reads {read!r}, but no decision has that name. "
                        + (near(read, known) if known else "Give one name=... first.")
                    )
        if isinstance(value, Domain) and value.name:
            found = gates_of.setdefault(f"@{value.name}", set(gates))
            if found is not None:
                found &= gates
        if isinstance(value, Repeat) and isinstance(value.times, Derived):
            visit(value.times, gates)
            reads_of[id(value)] = value.times.reads
            visit(value.body, gates | {id(value)})
            return
        for part in parts(value):
            if isinstance(part, (Node, Open, tuple)):
                visit(part, gates)

    visit(root, frozenset())
    for start in reads_of:
        waiting, seen = [start], set()
        while waiting:
            gate = waiting.pop()
            for read in reads_of[gate]:
                for behind in gates_of.get(read.split("=")[0]) or ():
                    if behind == start:
                        raise ValueError(
                            f"A cycle: the number of copies reads {read!r}, which stands only "
                            "inside those copies. Move the named decision outside of the Repeat."
                        )
                    if behind not in seen:
                        seen.add(behind)
                        waiting.append(behind)
