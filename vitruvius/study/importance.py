"""How much each decision matters for the score.

Source: Breiman 2001, "Random Forests", Machine Learning 45, section 10 (permuting unseen rows).
Sobol 2001 (total effect): shuffling one input raises the squared error of a model by twice the
variance that involves the input. So

importance = (error on unseen trials with the decision shuffled - error as it is) / (2 variance)

A decision that is not always there is shuffled among the trials that take it, and judged on them.
Scores enter as ranks, so that one diverged training does not outweigh all others. The expectation
of a decision without influence is 0, hence no bias upwards where there are few trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitruvius.study.axes import Axis
from vitruvius.study.trials import Trial

ROUNDS = 32
TREES = 8
LEAST = 12
"""Trials with a score below which nothing is said."""
MOST = 2000
"""Trials that enter; of more, a seeded sample."""


@dataclass(frozen=True)
class Importance:
    """Share of the variance (of the scores' ranks) that depends on one decision."""

    axis: Axis
    active: float
    """Share of the trials that take this decision."""
    value: float
    low: float
    """10th percentile over the resamplings of the trials; ``high`` is the 90th."""
    high: float

    @property
    def clear(self) -> bool:
        """True where it can be told from chance: nine resamplings in ten agree on the sign."""
        return self.low > 0.0


@dataclass(frozen=True)
class Importances:
    """Of all decisions that varied, most important first, and how far to trust them."""

    decisions: tuple[Importance, ...]
    explained: float | None
    """R2 of the forest on trials it has not seen; None where there are too few trials."""
    trials: int

    @property
    def tells(self) -> bool:
        """False where the trials are too few, or say nothing, about any decision."""
        return self.explained is not None and self.explained > 0.05


def importances(trials: Sequence[Trial], axes: Sequence[Axis], seed: int = 0) -> Importances:
    """Importance of each decision among finished trials. Equal input and seed, equal output."""
    scored = [t for t in trials if t.status == "finished" and t.score is not None]
    scored = [t for t in scored if np.isfinite(t.score)]  # type: ignore[arg-type]
    varied = [axis for axis in axes if len({_key(t.point, axis) for t in scored}) > 1]
    if len(scored) < LEAST or not varied or len({t.score for t in scored}) < 2:
        return Importances((), None, len(scored))
    rng = np.random.default_rng(seed)
    if len(scored) > MOST:
        scored = [scored[i] for i in sorted(rng.choice(len(scored), MOST, replace=False))]
    ranks = _ranks(np.array([t.score for t in scored], dtype=float))
    positions = np.array([[_position(t.point, axis) for axis in varied] for t in scored])
    effects, explained = _resampled(positions, ranks, varied, rng)
    found = []
    for j, axis in enumerate(varied):
        drawn = effects[:, j][~np.isnan(effects[:, j])]
        if len(drawn) < ROUNDS // 2:
            continue
        low, high = np.quantile(drawn, [0.1, 0.9])
        active = float(np.mean(~np.isnan(positions[:, j])))
        found.append(Importance(axis, active, float(drawn.mean()), float(low), float(high)))
    found.sort(key=lambda one: -one.value)
    return Importances(tuple(found), float(np.mean(explained)), len(scored))


def _resampled(
    positions: NDArray[np.float64],
    ranks: NDArray[np.float64],
    axes: Sequence[Axis],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], list[float]]:
    """Per resampling and decision the effect of shuffling it (NaN where too few trials take it)."""
    from sklearn.ensemble import RandomForestRegressor

    count, width = positions.shape
    effects = np.full((ROUNDS, width), np.nan)
    explained = []
    for round_ in range(ROUNDS):
        inside = rng.integers(0, count, count)
        outside = np.setdiff1d(np.arange(count), inside)
        table = _table(positions, ranks, axes, inside)
        forest = RandomForestRegressor(
            TREES,
            max_features=0.6 if width > 2 else 1.0,
            min_samples_leaf=2,
            random_state=int(rng.integers(2**31)),
        )
        forest.fit(table[inside], ranks[inside])
        unseen, truth = table[outside], ranks[outside]
        errors = (forest.predict(unseen) - truth) ** 2
        explained.append(1.0 - errors.mean() / max(ranks.var(), 1e-12))
        shuffled, rows = [], []
        for j in range(width):
            active = np.flatnonzero(~np.isnan(positions[outside, j]))
            rows.append(active)
            changed = unseen[active].copy()
            changed[:, j] = changed[rng.permutation(len(active)), j]
            shuffled.append(changed)
        predicted = np.split(
            forest.predict(np.concatenate(shuffled)), np.cumsum([len(r) for r in rows])[:-1]
        )
        for j, active in enumerate(rows):
            spread = ranks[~np.isnan(positions[:, j])].var()
            if len(active) >= 3 and spread > 0:
                worse = ((predicted[j] - truth[active]) ** 2).mean() - errors[active].mean()
                effects[round_, j] = worse / (2 * spread)
    return effects, explained


def _table(
    positions: NDArray[np.float64],
    ranks: NDArray[np.float64],
    axes: Sequence[Axis],
    inside: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Columns for the forest: categories in the order of their mean rank, absent far below.

    Splits of categories in that order are the best ones for squared error (Breiman et al. 1984,
    section 9.4); the order is learned from the resampled trials only.
    """
    table = positions.copy()
    for j, axis in enumerate(axes):
        if axis.kind == "categorical":
            for label in np.unique(positions[:, j][~np.isnan(positions[:, j])]):
                members = ranks[inside][positions[inside, j] == label]
                table[positions[:, j] == label, j] = members.mean() if len(members) else 0.5
        column = table[:, j]
        low, high = np.nanmin(column), np.nanmax(column)
        table[:, j] = np.where(np.isnan(column), -1.0, (column - low) / ((high - low) or 1.0))
    return table


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks in (0, 1]; equals share their mean."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - (counts - 1) / 2) / len(values))[group]


def _position(point: Any, axis: Axis) -> float:
    return axis.position(point[axis.address]) if axis.address in point else np.nan


def _key(point: Any, axis: Axis) -> tuple[type, Any] | None:
    if axis.address not in point:
        return None
    return type(point[axis.address]), point[axis.address]
