"""Several objectives of a study: which designs no other beats, and which one is chosen.

The score comes first; costs (parameters, FLOPs, seconds, latency) are to be small. Sources: Pareto
dominance and hypervolume as in Zitzler and Thiele 1998, "Multiobjective Optimization Using
Evolutionary Algorithms", PPSN V.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.search.history import COSTS
from vitruvius.space.checking import near
from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import count_word, score_word, seconds_word


@dataclass(frozen=True)
class Front:
    """What a study found for several objectives."""

    also: tuple[str, ...]
    """The costs beside the score."""
    trials: tuple[Trial, ...]
    """Designs that no other beats, best score first."""
    all: tuple[Trial, ...]
    """Every trial that was compared: whole trainings of which everything is known."""
    hypervolume: float
    """Share, in [0, 1], of the box between the best and the worst value of each objective that the
    front dominates; costs by their logarithm."""

    @property
    def words(self) -> str:
        """The costs in words: ``parameters``, ``parameters, flops and seconds``."""
        *first, last = self.also
        return f"{', '.join(first)} and {last}" if first else last

    @property
    def numbers(self) -> frozenset[int]:
        """Of the trials of the front."""
        return frozenset(trial.number for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """As the event "final" and ``vitruvius show --json`` hold it."""
        return {
            "also": list(self.also),
            "hypervolume": self.hypervolume,
            "trials": [
                {"trial": t.number, "score": t.score, **{n: t.cost(n) for n in self.also}}
                for t in self.trials
            ],
        }


def front_of(study: Summary) -> Front | None:
    """The front of a study; None where it has one objective, or no trial of which all is known."""
    also = study.also
    leaders = study.leaders
    whole = [t for t in leaders if t.share == leaders[0].share] if leaders and also else []
    known = [t for t in whole if all(t.cost(name) is not None for name in also)]
    if not known:
        return None
    sign = -1.0 if study.better == "higher" else 1.0
    costs = np.array([[sign * (t.score or 0.0), *(t.cost(n) for n in also)] for t in known], float)
    kept = undominated(costs)
    trials = tuple(trial for trial, keep in zip(known, kept, strict=True) if keep)
    return Front(also, trials, tuple(known), dominated_share(costs))


def undominated(costs: np.ndarray) -> np.ndarray:
    """Which rows of costs [n, k] no other dominates, bool [n]; of equal rows the first.

    A row dominates another that it is not above in any column and below in one.
    """
    kept = np.zeros(len(costs), bool)
    front: list[np.ndarray] = []
    # By the first column, then the next ones, so that no row dominates an earlier one.
    for i in np.lexsort(costs.T[::-1]):
        row = costs[i]
        if not any((other <= row).all() for other in front):
            front.append(row)
            kept[i] = True
    return kept


def hypervolume(costs: np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """The volume that rows of costs [n, k] dominate below a reference point [k]; exact.

    Sliced along the last column: O(n^2 log n) for three objectives.
    """
    edge = np.asarray(reference, float)
    inside = costs[(costs < edge).all(axis=1)]
    if not len(inside):
        return 0.0
    if len(edge) == 1:
        return float(edge[0] - inside.min())
    if len(edge) == 2:
        volume, height = 0.0, edge[1]
        for x, y in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
            if y < height:
                volume += (edge[0] - x) * (height - y)
                height = y
        return float(volume)
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    edges = [*inside[:, -1], edge[-1]]
    volume = 0.0
    for i in range(len(inside)):
        depth = edges[i + 1] - edges[i]
        if depth > 0:
            below = inside[: i + 1, :-1]
            volume += depth * hypervolume(below[undominated(below)], edge[:-1])
    return float(volume)


def dominated_share(costs: np.ndarray) -> float:
    """Hypervolume of rows [n, k] in the box between the best and the worst of each column; all but
    the first by their logarithm, where they are above 0."""
    scaled = np.array(costs, float)
    for k in range(scaled.shape[1]):
        column = scaled[:, k]
        if k and (column > 0).all():
            column = np.log(column)
        low, high = column.min(), column.max()
        scaled[:, k] = (column - low) / (high - low) if high > low else 0.0
    return hypervolume(scaled[undominated(scaled)], np.ones(scaled.shape[1]))


def contenders(study: Summary, at_most: Mapping[str, float]) -> tuple[Trial, ...]:
    """The leaders that keep to the limits, best first; where none does, those that are nearest to
    them, by the ratio of the cost that is furthest above its limit."""
    if not at_most:
        return study.leaders
    within = tuple(t for t in study.leaders if excess(t, at_most) <= 1.0)
    return within or tuple(sorted(study.leaders, key=lambda t: (-t.share, excess(t, at_most))))


def excess(trial: Trial, at_most: Mapping[str, float]) -> float:
    """The largest ratio of a cost to its limit; infinite where it is not known."""
    costs = {name: trial.cost(name) for name in at_most}
    return max((math.inf if c is None else c / at_most[n] for n, c in costs.items()), default=0.0)


def rule(study: Summary, at_most: Mapping[str, float]) -> str:
    """How the one design was chosen, in words."""
    if not at_most:
        return f"the best {study.metric}"
    limits = " and ".join(f"{name} <= {value:g}" for name, value in at_most.items())
    if any(excess(trial, at_most) <= 1.0 for trial in study.leaders):
        return f"the best {study.metric} with {limits}"
    return f"no design has {limits}: the one that is nearest"


def checked_costs(names: Sequence[str], where: str) -> None:
    """Refuse what no trial measures."""
    for name in names:
        if name not in COSTS:
            raise ValueError(
                f"{where} names costs of a design: {', '.join(COSTS)}; got {name!r}. "
                + near(name, list(COSTS))
            )


def cost_word(name: str, value: float | None) -> str:
    """A cost as a person reads it."""
    if name == "seconds":
        return seconds_word(value)
    if name == "latency":
        return "-" if value is None else f"{score_word(1000 * value)} ms"
    return count_word(value, "FLOP" if name == "flops" else "")
