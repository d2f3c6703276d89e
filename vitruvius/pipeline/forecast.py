"""What is left to compute for a design, given what a store holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from vitruvius.contracts import Cost, Stage, State
from vitruvius.pipeline.keeping import state_digest
from vitruvius.pipeline.keys import Keyed, inner_pipelines, keys_of, rung_key
from vitruvius.pipeline.store import Store
from vitruvius.space import Node
from vitruvius.space.node import importable

if TYPE_CHECKING:
    from vitruvius.pipeline.lab import LocalLab


def cost_left(
    lab: LocalLab, pipeline: Node, inputs: Mapping[str, State], store: Store | None
) -> Cost:
    """FLOPs, seconds and parameters of the stages behind the last that is stored.

    A stage costs what the same one took when it was stored; else what it foresees from the meter;
    else the median of what stages of its class took. Seconds follow from FLOPs at the speed of the
    class. Raises Infeasible where a network does not fit.
    """
    digests = {role: state_digest(state) for role, state in inputs.items()}
    keyed = keys_of(pipeline, digests, lab.setting)
    done = 0 if store is None else _stored(keyed, store)
    state = inputs.get("before")
    total = Cost()
    for i, one in enumerate(keyed):
        if one.stage.sourced and (i == 0 or keyed[i - 1].stage.sourced):
            if done == 0:
                state = lab.run(one.stage, {} if state is None else {**inputs, "before": state})
            continue
        if i < done:
            continue
        for _, inner in inner_pipelines(one.stage):
            total = added(total, cost_left(lab, inner, {}, store))
        roles = {**inputs, "before": state} if state is not None else inputs
        total = added(total, _cost_of(one, roles if set(roles) == set(one.inputs) else None, lab))
        state = None  # not known before it has run
    return total


def _stored(keyed: tuple[Keyed, ...], store: Store) -> int:
    """How many stages need not run."""
    for i in range(len(keyed), 0, -1):
        if store.has(keyed[i - 1].state):
            return i
    return 0


def _cost_of(keyed: Keyed, roles: Mapping[str, State] | None, lab: LocalLab) -> Cost:
    store, stage = lab.store, keyed.stage
    known = None if store is None else store.entry(keyed.state)
    if known is not None:
        return known.cost
    taken = [] if store is None else store.taken(importable(type(stage)))
    found = None if roles is None else stage.foresee(roles, lab)
    if found is None:
        if not taken:
            return Cost()
        found = Cost(median(c.flops for c in taken), parameters=max(c.parameters for c in taken))
    speeds = [c.flops / c.seconds for c in taken if c.flops > 0 and c.seconds > 0]
    if found.flops > 0 and speeds:
        found = replace(found, seconds=found.flops / median(speeds))
    elif taken and not found.seconds:
        found = replace(found, seconds=median(c.seconds for c in taken))
    return _less(found, _spent(keyed, store, stage))


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
