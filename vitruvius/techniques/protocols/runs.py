"""The table of a protocol: one row for each run, and what is read off it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import Array, Better, Found, Measurement, State


@dataclass(frozen=True)
class Run:
    """A design in one order. ``score`` is nan where it failed."""

    phase: int
    trial: int
    """Of phase 1, from 0; -1: of the design that was chosen."""
    order: int
    score: float
    chosen: bool
    flops: float = 0.0
    seconds: float = 0.0
    parameters: int = 0


def scored(found: Found | None, orders: Sequence[int]) -> list[Run]:
    """The runs of phase 1, in the order in which they were asked; costs are shared out evenly."""
    if found is None:
        return []
    best = next(i for i, one in enumerate(found.tried) if one.point is found.point)
    rows = []
    for trial, one in enumerate(found.tried):
        scores = one.scores or (float("nan"),) * len(orders)
        for order, score in zip(orders, scores, strict=True):
            flops, seconds = one.cost.flops / len(orders), one.cost.seconds / len(orders)
            rows.append(
                Run(1, trial, order, score, trial == best, flops, seconds, one.cost.parameters)
            )
    return rows


def summed(states: Sequence[State], inputs: Sequence[State], orders: Sequence[int]) -> list[Run]:
    """The runs of phase 2."""
    rows = []
    for state, given, order in zip(states, inputs, orders, strict=True):
        known = {id(m) for m in given.measurements}
        new = [m for m in state.measurements if id(m) not in known]
        rows.append(
            Run(
                2,
                -1,
                order,
                score_of(new).value,
                True,
                sum(m.cost.flops for m in new),
                sum(m.cost.seconds for m in new),
                max((m.cost.parameters for m in new), default=0),
            )
        )
    return rows


def score_of(measurements: Sequence[Measurement]) -> Measurement:
    """The last one that ranks."""
    ranked = [m for m in measurements if m.better is not None]
    if not ranked:
        raise ValueError(
            "A subject of a protocol must measure something that ranks; this one does not. "
            "End it with Evaluate()."
        )
    return ranked[-1]


def table_of(rows: Sequence[Run]) -> dict[str, Array]:
    """Columns by name."""
    names = ("phase", "trial", "order", "score", "chosen", "flops", "seconds", "parameters")
    return {name: np.array([getattr(row, name) for row in rows]) for name in names}


def chosen(table: Mapping[str, Array]) -> dict[str, float]:
    """Of phase 1: the mean score of the design that was chosen, designs, failures, FLOPs and
    seconds; nothing where there was none."""
    first = table["phase"] == 1
    if not first.any():
        return {}
    scores = table["score"][first]
    failed = {int(t) for t in table["trial"][first][np.isnan(scores)]}
    return {
        "tuned": float(scores[table["chosen"][first]].mean()),
        "designs": float(len(np.unique(table["trial"][first]))),
        "failed": float(len(failed)),
        "flops": float(table["flops"][first].sum()),
        "seconds": float(table["seconds"][first].sum()),
    }


def gain(better: Better | None) -> float:
    """1 where a higher score is better, else -1."""
    return -1.0 if better == "lower" else 1.0
