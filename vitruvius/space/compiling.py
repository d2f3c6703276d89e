"""From a tree to operations and makers, by one walk, so that an address is made in one place only.

What an option holds is compiled when it is first taken: a branch that no point has taken yet costs
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitruvius.space.domains import Choice, Domain, names_in, snake, word_of
from vitruvius.space.fields import field_names
from vitruvius.space.node import Infeasible, Node, Open, make
from vitruvius.space.operations import (
    ABSENT,
    Block,
    Condition,
    Decide,
    Decision,
    Enter,
    Force,
    Gate,
    Maker,
    Operation,
    Reading,
    Splice,
    settled,
)
from vitruvius.space.structure import Derived, Grammar, Ref, Repeat, Where


class Context:
    """Where in a grammar a part stands: the rules, and how many references may still nest."""

    __slots__ = ("grammar", "left")

    def __init__(self, grammar: Grammar | None, left: float) -> None:
        self.grammar, self.left = grammar, left

    def allows(self, option: Any) -> bool:
        return self.grammar is None or self.grammar.need(option) <= self.left

    def rule(self, ref: Ref) -> tuple[Any, Context]:
        """What stands behind a reference, and its own context."""
        if self.grammar is None:
            raise ValueError(f"{ref!r} stands outside of a grammar.")
        return self.grammar.rules[ref.rule], Context(self.grammar, self.left - 1)


class Compiler:
    """Compiles parts of one space; decisions at the same address are one decision."""

    def __init__(
        self, limits: Mapping[str, Sequence[tuple[Any, ...]]], reads: frozenset[str]
    ) -> None:
        self.limits, self.reads = limits, reads
        self.decisions: dict[str, Decision] = {}

    def root(self, value: Any, context: Context) -> Block:
        """The whole space: a node has no address, a domain that of its word."""
        if isinstance(value, Grammar):
            return self.root(value.rules[value.start], Context(value, value.depth))
        if isinstance(value, (Node, tuple)):
            return self._part("", value, context)
        block = self._item("", value, context, {})
        return Block(block.operations, lambda reading: settled(block.make(reading)))

    def _item(self, address: str, value: Any, context: Context, used: dict[str, int]) -> Block:
        """A part that stands in a tuple, addressed by its class name, word or label."""
        if isinstance(value, Grammar):
            inner = Context(value, value.depth)
            return self._item(address, value.rules[value.start], inner, used)
        if isinstance(value, Where):
            condition = Condition(_join(address, _unique("where", used)), value)
            return Block((condition,), lambda _: Splice())
        if isinstance(value, Node):
            key = value.label or snake(type(value).__name__)
        elif isinstance(value, Open):
            key = word_of(value)
        elif isinstance(value, tuple):
            key = "tuple"
        else:
            return Block((), lambda _: value)
        return self._part(_join(address, _unique(key, used)), value, context)

    def _part(self, address: str, value: Any, context: Context) -> Block:
        """A part that stands at an address of its own: a field, an option, a copy."""
        if isinstance(value, Node):
            return self._node(address, value, context)
        if isinstance(value, tuple):
            return self._tuple(address, value, context, {})
        if isinstance(value, Domain):
            operation, block = self._domain(address, value, context)
            return Block((*operation, *block.operations), block.make)
        if isinstance(value, Repeat):
            return self._repeat(address, value, context)
        if isinstance(value, Derived):
            return Block((), lambda reading: reading.compute(value, address))
        if isinstance(value, Ref):
            return self._part(address, *context.rule(value))
        if isinstance(value, Grammar):
            return self._part(address, value.rules[value.start], Context(value, value.depth))
        return Block((), lambda _: value)

    def _limited(self, address: str, domain: Domain, context: Context) -> Domain:
        """The domain without what the depth of a grammar or a restriction rules out."""
        if isinstance(domain, Choice) and context.grammar is not None:
            options = zip(domain.labels, domain.options, strict=True)
            fitting = [label for label, option in options if context.allows(option)]
            if len(fitting) < len(domain.labels):
                domain = domain.limit(fitting)
        for allowed in self.limits.get(address, ()):
            try:
                domain = domain.limit(allowed)
            except ValueError as error:
                raise ValueError(f"{address}: {error}") from None
        return domain

    def _domain(
        self, address: str, domain: Domain, context: Context
    ) -> tuple[tuple[Decide | Force, ...], Block]:
        """How a domain is decided, and what comes with the label and makes the value."""
        address = f"@{domain.name}" if domain.name else address
        domain = self._limited(address, domain, context)
        contents = self._contents(address, domain, context)
        if domain.size == 1:
            label = domain.at(0.0)
            forced = (Force(address, label),) if address in self.reads else ()
            return forced, contents(label)
        decision = self._decision(address, domain, contents)
        take = decision.block

        def make_option(reading: Reading) -> Any:
            return take(reading.point[address]).make(reading)

        return (Decide(decision),), Block((Enter(decision),), make_option)

    def _decision(self, address: str, domain: Domain, contents: Callable[[Any], Block]) -> Decision:
        if address not in self.decisions:
            self.decisions[address] = Decision(address, domain, contents)
        return self.decisions[address]

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
        cls = type(node)
        first: list[Operation] = []  # a node's own decisions
        later: list[Operation] = []  # then what they hold
        fixed: dict[str, Any] = {}
        makers: list[tuple[str, Maker]] = []
        used = dict.fromkeys((n for n in field_names(cls) if n != node.varargs), 1)
        for name in field_names(cls):
            value = getattr(node, name)
            if isinstance(value, Domain):
                own, block = self._domain(_join(address, name), value, context)
                first.extend(own)
            elif isinstance(value, tuple) and name == node.varargs:
                block = self._tuple(address, value, context, used)
            elif isinstance(value, (Node, Open, tuple)):
                block = self._part(_join(address, name), value, context)
            else:
                fixed[name] = value
                continue
            later.extend(block.operations)
            makers.append((name, block.make))

        def make_node(reading: Reading) -> Node:
            fields = dict(fixed)
            for name, maker in makers:
                fields[name] = settled(maker(reading))
            try:
                return make(cls, fields)
            except ValueError as error:
                raise Infeasible(address, str(error)) from error

        return Block((*first, *later), make_node)

    def _tuple(
        self, address: str, items: tuple[Any, ...], context: Context, used: dict[str, int]
    ) -> Block:
        blocks = [self._item(address, item, context, used) for item in items]
        return Block(
            tuple(o for block in blocks for o in block.operations),
            lambda reading: tuple(_spliced(block.make(reading) for block in blocks)),
        )

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
                totals[times] = Block(
                    tuple(o for block in walked for o in block.operations),
                    lambda reading: Splice(_spliced(block.make(reading) for block in blocks)),
                )
            return totals[times]

        times = repeat.times
        place = _join(address, "times")
        if isinstance(times, Derived):
            inside = frozenset(f"@{name}" for name in names_in(repeat.body))
            gate = Gate(place, times, inside, copied)
            return Block((gate,), lambda reading: gate.copies(reading).make(reading))
        if isinstance(times, Domain):
            if not context.allows(repeat.body):
                times = times.limit((0,))  # no copy fits into what is left of the grammar's depth
            own, block = self._domain(place, times, context)
            if own and isinstance(own[0], Decide):
                decision = own[0].decision
                entered = Decision(decision.address, decision.domain, copied)
                make_times = block.make
                return Block(
                    (*own, Enter(entered)),
                    lambda reading: copied(make_times(reading)).make(reading),
                )
            forced = copied(block.make(Reading({}, {})))
            return Block((*own, *forced.operations), forced.make)
        return copied(times)


def _spliced(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if type(value) is Splice:
            found.extend(value)
        else:
            found.append(value)
    return found


def _join(address: str, key: str) -> str:
    return f"{address}.{key}" if address and key else address or key


def _unique(key: str, used: dict[str, int]) -> str:
    """The key, or with ``_2``, ``_3``, ... where it is taken already."""
    number = used.get(key, 0) + 1
    while number > 1 and f"{key}_{number}" in used:
        number += 1
    used[key] = number
    unique = key if number == 1 else f"{key}_{number}"
    used.setdefault(unique, 1)
    return unique
