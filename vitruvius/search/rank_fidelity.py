"""How well the order of designs early in their training tells their order at its end.

Source: Yang et al. 2024, "The Fine Line", arXiv:2404.01204 (what is seen at early checkpoints tells
later ones); successive halving's need of it in Jamieson and Talwalkar 2016, arXiv:1502.07943.
Intervals: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and
Spearman correlations", Psychometrika 65. Differs from the sources: the paper follows one training
and predicts its scores; here it is the order of many designs, in all and among the best, since a
rung decides between the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LEAST = 8
"""Designs trained to their end below which nothing is said."""
TOP = 0.2
QUANTILE = 1.959964  # of 95 %, two-sided
DRAWS = 2000


@dataclass(frozen=True)
class Correlation:
    """A rank correlation over ``count`` designs and its 95 % interval; NaN where it is unknown."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Fidelity:
    """What the scores at one share of the horizon tell of the last ones."""

    share: float
    spearman: Correlation
    kendall: Correlation
    top_spearman: Correlation
    """Among the designs that are the best fifth at the end."""
    top_kendall: Correlation
    lead: float
    """How often the rise since half this share is added to the score, to foresee the last one."""
    spread: float
    """Standard deviation of what comes from what is foreseen, among the better half here."""


class RankFidelity:
    """Of designs that were trained to their end: ``shares`` [K] up to 1, ``gains`` [design, K].

    Higher gains are better; minus infinity stands for a failure, NaN for what is not known. Designs
    whose last gain is unknown are left out.
    """

    def __init__(self, shares: NDArray[np.float64], gains: NDArray[np.float64]) -> None:
        shares, gains = np.asarray(shares, float), np.asarray(gains, float)
        if gains.ndim != 2 or gains.shape[1] != len(shares) or np.any(np.diff(shares) <= 0):
            raise ValueError(
                "RankFidelity needs rising shares and a row of as many gains for each design; "
                f"got {len(shares)} shares and gains of shape {gains.shape}."
            )
        if not len(shares) or abs(shares[-1] - 1) > 1e-6:
            raise ValueError(
                f"The last share must be 1, the whole training; got {shares[-1:].tolist()}."
            )
        self.shares = shares
        self.gains = gains[~np.isnan(gains[:, -1])]

    @property
    def enough(self) -> bool:
        """Whether there are designs enough, and checkpoints on their way, to say anything."""
        return len(self.gains) >= LEAST and len(self.shares) > 1

    @cached_property
    def rungs(self) -> tuple[Fidelity, ...]:
        """At each share but the last one."""
        return tuple(self._at(k) for k in range(len(self.shares) - 1)) if self.enough else ()

    def foreseen(self, k: int, gains: NDArray[np.float64]) -> NDArray[np.float64]:
        """The last gains of designs [design], of their gains [design, >= k + 1] up to share k.

        gain + lead * (gain - gain at half the share). For curves a - b s^-c with one c that is
        exact: then lead = (1 - s^c) / (2^c - 1). The lead is learnt from this object's curves; it
        is 0 where that foresees better those that it has not seen.
        """
        lead = self._leads[k][0]
        now, before = gains[:, k], gains[:, self._half(k)]
        with np.errstate(invalid="ignore"):
            return np.where(
                np.isfinite(before) & np.isfinite(now), now + lead * (now - before), now
            )

    def chances(self, k: int, gains: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
        """How probably each design [design] is the best of these at the end, from share k.

        What is foreseen plus normal noise of this share's spread; 2,000 draws.
        """
        seen = self.foreseen(k, gains)
        seen = np.where(np.isnan(seen), -np.inf, seen)
        if not np.isfinite(seen).any():
            return np.full(len(seen), 1 / max(len(seen), 1))
        noise = np.random.default_rng(seed).normal(size=(DRAWS, len(seen)))
        first = (seen + self._leads[k][1] * noise).argmax(1)
        return np.bincount(first, minlength=len(seen)) / DRAWS

    @cached_property
    def _leads(self) -> list[tuple[float, float]]:
        return [self._lead(k) for k in range(len(self.shares))]

    def _half(self, k: int) -> int:
        """The checkpoint nearest to half the share of k, before k where there is one."""
        if k == 0:
            return 0
        return int(np.abs(self.shares[:k] - self.shares[k] / 2).argmin())

    def _lead(self, k: int) -> tuple[float, float]:
        """The lead at share k, and the spread of what is left, from the better half there."""
        j, known = self._half(k), self.gains[np.isfinite(self.gains).all(1)]
        if len(known) < 4 or k == len(self.shares) - 1:
            return 0.0, 0.0
        known = known[known[:, k] >= np.median(known[:, k])]
        rise, left = known[:, k] - known[:, j], known[:, -1] - known[:, k]
        x, y = rise - rise.mean(), left - left.mean()
        square = float(x @ x)
        plain = y * len(y) / (len(y) - 1)  # left out one at a time, exactly
        if square <= 1e-12 or k == j:
            return 0.0, float(np.sqrt(np.mean(plain**2)))
        lead = min(max(float(x @ y) / square, 0.0), 3.0)
        hat = 1 / len(y) + x * x / square
        ahead = (y - lead * x) / np.maximum(1 - hat, 1e-3)
        if lead == 0 or np.mean(ahead**2) >= np.mean(plain**2):
            return 0.0, float(np.sqrt(np.mean(plain**2)))
        return lead, float(np.sqrt(np.mean(ahead**2)))

    def _at(self, k: int) -> Fidelity:
        seen = ~np.isnan(self.gains[:, k])
        early, last = self.gains[seen, k], self.gains[seen, -1]
        best = np.sort(self.gains[:, -1])[::-1][max(1, math.ceil(TOP * len(self.gains))) - 1]
        top = (last >= best) & np.isfinite(last)
        return Fidelity(
            float(self.shares[k]),
            spearman(early, last),
            kendall(early, last),
            spearman(early[top], last[top]),
            kendall(early[top], last[top]),
            *self._leads[k],
        )


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 up; equals share their mean."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[group]


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> Correlation:
    """Pearson's correlation of the ranks. Standard error of its Fisher transform:
    sqrt((1 + rho^2 / 2) / (n - 3))."""
    x, y = ranks(a) - (len(a) + 1) / 2, ranks(b) - (len(b) + 1) / 2
    scale = math.sqrt(float(x @ x) * float(y @ y))
    rho = float(x @ y) / scale if scale else math.nan
    return _with_interval(rho, len(a), (1 + rho * rho / 2) / max(len(a) - 3, 1e-9))


def kendall(a: NDArray[np.float64], b: NDArray[np.float64]) -> Correlation:
    """Kendall's tau-b: pairs in the same order less those in the other, ties taken into account.
    Standard error of its Fisher transform: sqrt(0.437 / (n - 4))."""
    above = np.triu_indices(len(a), 1)
    x, y = ranks(a), ranks(b)
    dx = np.sign(x[:, None] - x[None])[above]
    dy = np.sign(y[:, None] - y[None])[above]
    scale = math.sqrt(float(dx @ dx) * float(dy @ dy))
    tau = float(dx @ dy) / scale if scale else math.nan
    return _with_interval(tau, len(a), 0.437 / max(len(a) - 4, 1e-9))


def _with_interval(value: float, count: int, variance: float) -> Correlation:
    value = min(max(value, -1.0), 1.0) if value == value else value
    if value != value or count < 5:
        return Correlation(value, math.nan, math.nan, count)
    if abs(value) > 1 - 1e-9:
        return Correlation(value, value, value, count)
    middle, half = math.atanh(value), QUANTILE * math.sqrt(variance)
    return Correlation(value, math.tanh(middle - half), math.tanh(middle + half), count)
