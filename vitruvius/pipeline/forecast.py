"""What is left to compute for a design, given what a store holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from vitruvius.contracts import Cost, Stage, State
from vitruvius.pipeline.keys import Keyed, inner_pipelines, keys_of, rung_key
from vitruvius.pipeline.state_digest import state_digest
from vitruvius.pipeline.store import Store
from vitruvius.space import Node
from vitruvius.space.node import importable

if TYPE_CHECKING:
    from vitruvius.pipeline.lab import LocalLab


@dataclass(frozen=True)
class Step:
    """A stage that has to run."""

    key: str
    cost: Cost | None
    """What is left of it; None where nothing is known. Seconds are 0 where they are not known."""


def cost_left(
    lab: LocalLab, pipeline: Node, inputs: Mapping[str, State], store: Store | None
) -> Cost:
    """FLOPs, seconds and parameters of all steps that are left; what is not known counts as none.

    Raises Infeasible where a network does not fit.
    """
    total = Cost()
    for step in steps_left(lab, pipeline, inputs, store):
        total = added(total, step.cost or Cost())
    return total


def steps_left(
    lab: LocalLab,
    pipeline: Node,
    inputs: Mapping[str, State],
    store: Store | None,
    foreseen: dict[str, Cost] | None = None,
) -> tuple[Step, ...]:
    """The stages behind the last one that is stored, in order, those of inner pipelines included.

    A stage costs what the same one took when it was stored; else what it foresees from the meter;
    else the median of what stages of its class took; less what its rungs took that are stored.
    Seconds follow from FLOPs at the speed of the class. ``foreseen`` remembers what stages foresaw,
    by key. Raises Infeasible where a network does not fit.
    """
    digests = {role: state_digest(state) for role, state in inputs.items()}
    keyed = keys_of(pipeline, digests, lab.setting)
    done = 0 if store is None else _stored(keyed, store)
    state = inputs.get("before")
    found: list[Step] = []
    for i, one in enumerate(keyed):
        if one.stage.sourced and (i == 0 or keyed[i - 1].stage.sourced):
            if done == 0:
                state = lab.run(one.stage, {} if state is None else {**inputs, "before": state})
            continue
        if i < done:
            continue
        for _, inner in inner_pipelines(one.stage):
            found.extend(steps_left(lab, inner, {}, store, foreseen))
        roles = {role: made for role, made in inputs.items() if role != "before"}
        if state is not None:
            roles["before"] = state
        found.append(Step(one.state, _cost_of(one, roles, lab, store, foreseen)))
        state = None  # not known before it has run
    return tuple(found)


def prefix_and_rest(steps: Sequence[Step]) -> tuple[Cost, Cost]:
    """The costs before the last stage that costs, which other designs may share, and from there on.

    A stage costs where it takes FLOPs, or, if none of them does, seconds.
    """
    costs = [step.cost or Cost() for step in steps]
    costing = [i for i, cost in enumerate(costs) if cost.flops > 0]
    costing = costing or [i for i, cost in enumerate(costs) if cost.seconds > 0] or [0]
    prefix, rest = Cost(), Cost()
    for i, cost in enumerate(costs):
        if i < costing[-1]:
            prefix = added(prefix, cost)
        else:
            rest = added(rest, cost)
    return prefix, rest


def prefix_of(lab: LocalLab, pipeline: Node, store: Store) -> str | None:
    """The key of what came before the last stage that cost FLOPs, of a design that has run; None
    where nothing before it did, or where it is not known any more."""
    keyed = keys_of(pipeline, {}, lab.setting)
    entries = [store.entry(one.state) for one in keyed]
    costing = [i for i, entry in enumerate(entries) if entry is not None and entry.cost.flops > 0]
    return keyed[costing[-1] - 1].state if len(costing) > 1 else None


def _stored(keyed: tuple[Keyed, ...], store: Store) -> int:
    """How many stages need not run."""
    for i in range(len(keyed), 0, -1):
        if store.has(keyed[i - 1].state):
            return i
    return 0


def _cost_of(
    keyed: Keyed,
    roles: Mapping[str, State],
    lab: LocalLab,
    store: Store | None,
    foreseen: dict[str, Cost] | None,
) -> Cost | None:
    stage = keyed.stage
    known = None if store is None else store.entry(keyed.state)
    if known is not None:
        return known.cost
    taken = [] if store is None else store.taken(importable(type(stage)))
    found = _foreseen(keyed, roles, lab, foreseen)
    if found is None:
        if not taken:
            return None
        found = Cost(median(c.flops for c in taken), parameters=max(c.parameters for c in taken))
    speeds = [c.flops / c.seconds for c in taken if c.flops > 0 and c.seconds > 0]
    if found.flops > 0 and speeds:
        found = replace(found, seconds=found.flops / median(speeds))
    elif taken and not found.seconds:
        found = replace(found, seconds=median(c.seconds for c in taken))
    return _less(found, _spent(keyed, store, stage))


def _foreseen(
    keyed: Keyed,
    roles: Mapping[str, State],
    lab: LocalLab,
    memory: dict[str, Cost] | None,
) -> Cost | None:
    """What a stage foresees, once for each key. Raises Infeasible."""
    if memory is not None and keyed.state in memory:
        return memory[keyed.state]
    found = keyed.stage.foresee(roles, lab)
    if memory is not None and found is not None:
        memory[keyed.state] = found
    return found


def _spent(keyed: Keyed, store: Store | None, stage: Stage) -> Cost:
    """What rungs of this stage that were kept have taken already."""
    end = stage.rung()
    for step in () if store is None else reversed(store.rungs(keyed.key)):
        if end is None or step <= end:
            entry = store.entry(rung_key(keyed.key, step)) if store is not None else None
            if entry is not None:
                return entry.cost
    return Cost()


def added(a: Cost, b: Cost) -> Cost:
    """Both, one after the other."""
    return Cost(
        a.flops + b.flops,
        a.seconds + b.seconds,
        max(a.parameters, b.parameters),
        max(a.memory_bytes, b.memory_bytes),
    )


def _less(a: Cost, b: Cost) -> Cost:
    return replace(a, flops=max(0.0, a.flops - b.flops), seconds=max(0.0, a.seconds - b.seconds))
