"""How sure a score, or the difference of two, is: by drawing the items again.

Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7;
of two systems on the same items: Koehn 2004, "Statistical Significance Tests for Machine
Translation Evaluation", EMNLP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from vitruvius.contracts import Array, Metric, Predictions

TIMES = 1000
LEVEL = 0.95
AT_ONCE = 4_000_000  # numbers drawn at a time


@dataclass(frozen=True)
class Interval:
    """A value, and where it lies when the items are drawn again."""

    value: float
    stderr: float
    low: float
    high: float
    level: float
    """Share of the draws between ``low`` and ``high``."""
    items: int


def bootstrap(
    statistic: Callable[[Array], float],
    items: int,
    *,
    times: int = TIMES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """``statistic`` gets positions [items], as often as an item is drawn."""
    _check(items, times, level)
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, items, items)) for _ in range(times)]
    return _interval(statistic(np.arange(items)), np.array(drawn), level, items)


def bootstrap_mean(
    values: Array, *, times: int = TIMES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Of the mean of values [N]. Of the mean difference of two systems: give their differences."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"bootstrap_mean needs one value for each item; got {values.shape}.")
    _check(len(values), times, level)
    rng = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // len(values))
    sizes = [min(at_once, times - done) for done in range(0, times, at_once)]
    drawn = [values[rng.integers(0, len(values), (n, len(values)))].mean(1) for n in sizes]
    return _interval(float(values.mean()), np.concatenate(drawn), level, len(values))


def paired(
    metric: Metric,
    first: Predictions,
    second: Predictions,
    *,
    times: int = TIMES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Score of the second less that of the first, on the same draws of the same items.

    What has the same ``rows`` is drawn together: all words of a sentence.
    """
    if not torch.equal(first.rows, second.rows) or not _same(first.targets, second.targets):
        raise ValueError(
            "paired compares predictions for the same items in the same order; rows or targets "
            "differ. Predict the same documents with both."
        )
    one, two = metric.measure(first), metric.measure(second)
    if "items" in one.details and "items" in two.details:
        gain = np.asarray(two.details["items"]) - np.asarray(one.details["items"])
        return bootstrap_mean(gain, times=times, level=level, seed=seed)
    rows = first.rows.cpu().numpy()
    edges = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1, append=rows[-1] + 1))
    starts, lengths = edges[:-1], np.diff(edges)

    def gain_of(groups: Array) -> float:
        sizes = lengths[groups]
        ends = sizes.cumsum()
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        chosen = torch.from_numpy(np.repeat(starts[groups], sizes) + within)
        fresh = torch.from_numpy(np.repeat(np.arange(len(groups)), sizes))
        return metric.measure(_take(second, chosen, fresh)).value - (
            metric.measure(_take(first, chosen, fresh)).value
        )

    return bootstrap(gain_of, len(starts), times=times, level=level, seed=seed)


def _take(predictions: Predictions, chosen: torch.Tensor, rows: torch.Tensor) -> Predictions:
    targets = None if predictions.targets is None else predictions.targets.cpu()[chosen]
    return Predictions(predictions.values.cpu()[chosen], targets, rows)


def _same(one: torch.Tensor | None, two: torch.Tensor | None) -> bool:
    return (one is None) == (two is None) and (one is None or two is None or torch.equal(one, two))


def _interval(value: float, drawn: Array, level: float, items: int) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(drawn.std(ddof=1)), float(low), float(high), level, items)


def _check(items: int, times: int, level: float) -> None:
    if items < 2 or times < 2 or not 0 < level < 1:
        raise ValueError(
            "A bootstrap needs at least 2 items, 2 draws and a level between 0 and 1; "
            f"got {items}, {times} and {level}."
        )
