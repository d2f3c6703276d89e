"""A space of ours in the words of other packages, with its conditions, orders and logarithms.

All translations start from ``branches``: the tree of decisions, in which each option holds the
decisions that it brings. A peer answers with numbers by address, an index for a choice and the
number itself otherwise; ``point_of`` makes them a point, which is checked as any other.

What each package is told:

- **Optuna** walks the space itself (define by run): choices with an order are integers, others
  categorical, numbers are numbers with their logarithm.
- **Hyperopt**: ``hp.choice`` with nested options; blocks that several depths share are one and the
  same object. ``hp.choice`` has no order, and only it may hold conditions, so that a depth has none
  there; a choice with an order and without contents is a whole number (``quniform``).
- **ConfigSpace** (SMAC): one parameter for each address, ordinal where there is an order, active
  where its parent has one of the options that bring it.
- **NePS**: options with contents are operations whose arguments are decided; paths do not depend on
  the option, so that a block keeps its values as the depth changes. A choice with an order and
  without contents is an integer; one with contents (a depth) is a categorical, which NePS moves to
  nearby indices. Its logarithmic integers never reach their upper end, so that they are numbers
  here, which are rounded. A flat space is one of plain parameters, which NePS models by a process.

Named decisions, derived values and conditions between branches are refused: no space here has any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vitruvius.space import Decision, Point, Program, compile
from vitruvius.space.domains import Choice, Integers, Real
from vitruvius.space.operations import Decide, Enter


@dataclass(frozen=True)
class Branch:
    """A decision, and what each option of it brings, by its index."""

    decision: Decision
    contents: tuple[tuple[Branch, ...], ...] = ()

    @property
    def address(self) -> str:
        return self.decision.address

    @property
    def domain(self) -> Any:
        return self.decision.domain

    @property
    def ordered(self) -> bool:
        """Whether it is a choice among values with an order."""
        return isinstance(self.domain, Choice) and self.domain.kind == "ordered"

    @property
    def holds(self) -> bool:
        """Whether some option brings further decisions."""
        return any(self.contents)


def branches(space: Any) -> tuple[Branch, ...]:
    """The decisions of a space as a tree. Raises ValueError where it is none."""
    return _branches(compile(space).root.operations, {})


def _branches(operations: Any, known: dict[str, Branch]) -> tuple[Branch, ...]:
    """``known``: by address, so that what several options share is one object."""
    entered = {o.decision.address: o.decision for o in operations if isinstance(o, Enter)}
    found: list[Branch] = []
    for operation in operations:
        if isinstance(operation, Enter):
            continue
        if not isinstance(operation, Decide) or operation.decision.address.startswith("@"):
            raise ValueError(
                f"A peer's space is a tree of decisions; got {type(operation).__name__}. "
                "Leave out names, derived values and conditions."
            )
        decision = operation.decision
        branch = known.get(decision.address)
        if branch is None:
            contents: tuple[Any, ...] = ()
            domain, inside = decision.domain, entered.get(decision.address)
            if inside is not None and isinstance(domain, Choice):
                blocks = [inside.block(label).operations for label in domain.labels]
                contents = tuple(_branches(block, known) for block in blocks)
            elif inside and isinstance(domain, Integers) and inside.block(domain.high).operations:
                raise ValueError(
                    "What a peer's decision brings must follow from a choice; "
                    f"{decision.address} is {domain!r}. Give one_of(...) in its place."
                )
            branch = known[decision.address] = Branch(decision, contents)
        found.append(branch)
    return tuple(found)


def point_of(program: Program, numbers: Mapping[str, Any]) -> Point:
    """The point that a peer's numbers stand for; those of inactive decisions are passed over."""

    def choose(decision: Decision) -> Any:
        number, domain = numbers[decision.address], decision.domain
        if isinstance(domain, Choice):
            return domain.labels[int(number)]
        if isinstance(domain, Integers):
            return min(max(round(float(number)), domain.low), domain.high)
        return float(number)

    return program.walk(choose)


# ------------------------------------------------------------------------ Optuna


def optuna_point(program: Program, trial: Any) -> Point:
    """What a trial of Optuna suggests, decision by decision."""

    def choose(decision: Decision) -> Any:
        address, domain = decision.address, decision.domain
        if isinstance(domain, Integers):
            return trial.suggest_int(address, domain.low, domain.high, log=domain.log)
        if isinstance(domain, Real):
            return trial.suggest_float(address, domain.low, domain.high, log=domain.log)
        if domain.kind == "ordered":
            return domain.labels[trial.suggest_int(address, 0, domain.size - 1)]
        return domain.labels[trial.suggest_categorical(address, range(domain.size))]

    return program.walk(choose)


# ---------------------------------------------------------------------- Hyperopt


def hyperopt_space(space: Any) -> dict[str, Any]:
    """Nested ``hp.choice``; what a suggestion says is read from its ``misc.vals``."""
    from hyperopt import hp

    made: dict[str, Any] = {}

    def one(branch: Branch) -> Any:
        address, domain = branch.address, branch.domain
        if address in made:
            return made[address]
        if isinstance(domain, Choice) and (branch.holds or not branch.ordered):
            held = branch.contents or ((),) * domain.size
            options = [{b.address: one(b) for b in inside} for inside in held]
            node = hp.choice(address, options)
        elif isinstance(domain, Choice):  # half a step more on both sides, so that ends are whole
            node = hp.quniform(address, -0.5, domain.size - 0.5, 1)
        elif isinstance(domain, Integers) and domain.log:
            low, high = math.log(domain.low - 0.5), math.log(domain.high + 0.5)
            node = hp.qloguniform(address, low, high, 1)
        elif isinstance(domain, Integers):
            node = hp.quniform(address, domain.low - 0.5, domain.high + 0.5, 1)
        elif domain.log:
            node = hp.loguniform(address, math.log(domain.low), math.log(domain.high))
        else:
            node = hp.uniform(address, domain.low, domain.high)
        made[address] = node
        return node

    return {branch.address: one(branch) for branch in branches(space)}


def hyperopt_point(program: Program, values: Mapping[str, list[Any]]) -> Point:
    """The point of ``misc.vals``: a list for each label, empty where it is inactive."""
    numbers = {}
    for decision in program.unfold():
        held = values[decision.address]
        if not len(held):
            continue
        number, domain = held[0], decision.domain
        if isinstance(domain, Choice):
            number = min(max(round(float(number)), 0), domain.size - 1)
        else:
            number = min(max(number, domain.low), domain.high)  # rounded just beyond an end
        numbers[decision.address] = number
    return point_of(program, numbers)


# ------------------------------------------------------------------- ConfigSpace


def config_space(space: Any, seed: int) -> Any:
    """A ConfigurationSpace with one parameter for each address, and its conditions."""
    import ConfigSpace as cs

    parents = dict(_parents(branches(space)))
    parameters = {}
    for address, (branch, _, _) in parents.items():
        domain = branch.domain
        if isinstance(domain, Choice) and domain.size == 1:
            parameters[address] = cs.Constant(address, 0)
        elif isinstance(domain, Choice) and branch.ordered:
            parameters[address] = cs.OrdinalHyperparameter(address, range(domain.size))
        elif isinstance(domain, Choice):
            parameters[address] = cs.CategoricalHyperparameter(address, range(domain.size))
        elif isinstance(domain, Integers):
            bounds = (domain.low, domain.high)
            parameters[address] = cs.Integer(address, bounds, log=domain.log)
        else:
            parameters[address] = cs.Float(address, (domain.low, domain.high), log=domain.log)
    found = cs.ConfigurationSpace(seed=seed)
    found.add(list(parameters.values()))
    found.add(
        [
            cs.InCondition(parameters[address], parameters[parent], options)
            for address, (branch, parent, options) in parents.items()
            if parent is not None and len(options) < parents[parent][0].domain.size
        ]
    )
    return found


def _parents(
    found: tuple[Branch, ...],
) -> Iterator[tuple[str, tuple[Branch, str | None, list[int]]]]:
    """Of each address the branch, its parent and the options of it that bring the branch."""
    seen: set[str] = set()

    def below(branch: Branch) -> Iterator[tuple[str, tuple[Branch, str | None, list[int]]]]:
        if branch.address in seen:
            return
        seen.add(branch.address)
        brought: dict[str, tuple[Branch, list[int]]] = {}
        for option, inside in enumerate(branch.contents):
            for child in inside:
                brought.setdefault(child.address, (child, []))[1].append(option)
        for address, (child, options) in brought.items():
            yield address, (child, branch.address, options)
            yield from below(child)

    for branch in found:
        yield branch.address, (branch, None, [])
        yield from below(branch)


# -------------------------------------------------------------------------- NePS


def neps_space(space: Any, epochs: int | None = None) -> Any:
    """A PipelineSpace; ``epochs``: with a fidelity of that name, from 1."""
    import neps

    made: dict[str, Any] = {}

    def one(branch: Branch) -> Any:
        address, domain = branch.address, branch.domain
        if address in made:
            return made[address]
        if isinstance(domain, Choice) and branch.holds:
            options = [
                neps.Operation(f"option_{i}", kwargs={b.address: one(b) for b in inside})
                for i, inside in enumerate(branch.contents)
            ]
            node = neps.Categorical(options)
        elif isinstance(domain, Choice) and branch.ordered:
            node = neps.Integer(0, domain.size - 1)
        elif isinstance(domain, Choice):
            node = neps.Categorical(tuple(range(domain.size)))
        elif isinstance(domain, Integers) and domain.log:
            node = neps.Float(domain.low - 0.5, domain.high + 0.5, log=True)
        elif isinstance(domain, Integers):
            node = neps.Integer(domain.low, domain.high)
        else:
            node = neps.Float(domain.low, domain.high, log=domain.log)
        made[address] = node
        return node

    found = neps.PipelineSpace()
    for branch in branches(space):
        setattr(found, branch.address, one(branch))
    if epochs is not None:
        found.epochs = neps.IntegerFidelity(1, epochs)  # type: ignore[attr-defined]
    return found


def neps_point(program: Program, config: Mapping[str, Any]) -> Point:
    """The point of a configuration: plain parameters by address, or samplings by their path."""
    numbers = {}
    for key, value in config.items():
        path, _, _ = key.rpartition("::")
        if not path:
            numbers[key] = value  # a plain parameter
        elif "mapping_value{" in path:
            numbers[path.rpartition("mapping_value{")[2].removesuffix("}")] = value
        else:
            numbers[path.removeprefix("SAMPLING__Resolvable.")] = value
    return point_of(program, numbers)
