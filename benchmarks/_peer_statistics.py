"""Regret over random search's, paired differences and their intervals, Holm's correction.

Normalised regret is that of a run over what random search has on the mean after as many evaluations
(``_peer_tasks.random_regret``): 1 is no better than random, 0 is the best there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
GROUPS = 20  # seeds that are as many of each other come together: see instance_of
Values = dict[int, float]
"""Of one searcher, task and size: normalised regret by seed, where the size was reached."""


def normalised(
    runs: Sequence[Mapping[str, Any]], expected: Mapping[str, Mapping[str, float]], size: int
) -> Values:
    """Of the runs that reached the size. ``expected``: by instance and size."""
    found = {}
    for run in runs:
        regret, random = run["regret"].get(str(size)), expected[str(run["instance"])][str(size)]
        if regret is not None:
            found[run["seed"]] = regret / random if random > 0 else float(regret > 0)
    return found


def grouped(values: Values) -> Values:
    """The mean of seeds 0, 20, 40, ..., of 1, 21, 41, ... and so on: partners of single seeds."""
    held: dict[int, list[float]] = {}
    for seed, value in values.items():
        held.setdefault(seed % GROUPS, []).append(value)
    return {seed: float(np.mean(found)) for seed, found in held.items()}


def pairs(ours: Values, theirs: Values) -> np.ndarray:
    """[pair, 2]: ours and theirs, of the seeds that both have."""
    mine = grouped(ours)
    seeds = sorted(set(mine) & set(theirs))
    return np.array([(mine[seed], theirs[seed]) for seed in seeds]).reshape(-1, 2)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % bootstrap interval."""
    held = np.asarray(values, float)
    means = held[_picked(len(held), 0)].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(held.mean()), float(low), float(high)


def ratio_interval(both: np.ndarray) -> tuple[float, float, float]:
    """Mean of the first column over that of the second, and the ends of its 95 % interval under a
    paired bootstrap."""
    drawn = both[_picked(len(both), 0)].mean(1)
    ratios = drawn[:, 0] / np.maximum(drawn[:, 1], 1e-12)
    low, high = np.quantile(ratios, (0.025, 0.975))
    means = both.mean(0)
    return float(means[0] / max(means[1], 1e-12)), float(low), float(high)


def pooled_difference(strata: Sequence[np.ndarray]) -> dict[str, float]:
    """Mean of the differences (ours less theirs) of all tasks, pairs drawn within each.

    ``p``: one-sided, of not being better; ``high``: the upper end of the one-sided 95 % interval.
    """
    weights = np.array([len(s) for s in strata], float)
    weights /= weights.sum()
    means = sum(
        weight * differences[_picked(len(differences), number)].mean(1)
        for number, (weight, differences) in enumerate(zip(weights, strata, strict=True))
    )
    means = np.asarray(means)
    return {
        "difference": float(sum(w * s.mean() for w, s in zip(weights, strata, strict=True))),
        "low": float(np.quantile(means, 0.05)),
        "high": float(np.quantile(means, 0.95)),
        "p": float((1 + (means >= 0).sum()) / (1 + DRAWS)),
        "pairs": int(sum(len(s) for s in strata)),
    }


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: the i-th smallest of m times m - i + 1, never decreasing."""
    corrected, most = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        most = max(most, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = most
    return {name: corrected[name] for name in p}


def _picked(count: int, seed: int) -> np.ndarray:
    """[draw, pair]: which pairs are drawn."""
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))
