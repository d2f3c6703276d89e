"""Sequential model-based optimisation with a ridge surrogate.

Source: Negrinho and Gordon 2017, arXiv:1704.08792, section 5.4, and its successor, Negrinho et al.
2019, arXiv:1909.13404: draw many points, let a ridge regression rank them, take the first, and with
probability epsilon a random one. Improvement per cost: Snoek, Larochelle and Adams 2012, "Practical
Bayesian Optimization of Machine Learning Algorithms", arXiv:1206.2944, section 3.2; cheap points to
start with: Lee, Perrone, Archambeau and Seeger 2020, "Cost-aware Bayesian Optimization",
arXiv:2003.10870.
Differs from the paper: the features hold the values of all decisions, not only the names of modules
(``features.py``); half of the candidates are small changes to the best points; the regression is
Bayesian and updated in place, so that its uncertainty counts and a trial costs the same early and
late; it predicts the rank of a score (as a logit), whatever the scale of the scores.
"""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.candidates import candidates
from vitruvius.search.costs import cheapest, priced
from vitruvius.search.features import Features
from vitruvius.search.history import WORST, Better
from vitruvius.search.improvement import log_improvement
from vitruvius.search.ridge import Ridge, shrink, spread
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.taken import Taken
from vitruvius.space import (
    Infeasible,
    Point,
    canonical,
    hyper,
    integers,
    log_uniform,
    one_of,
    uniform,
)

MEASURED = 64  # candidates, the best by their mean, whose uncertainty is computed


@dataclass(frozen=True)
class SMBO(Searcher):
    """Take the candidate with the highest predicted rank plus ``bonus`` standard deviations.

    Where costs are told, that names a short list, of which the one is taken that promises most for
    its price: expected improvement / cost ** ``per_cost``, with the improvement

        s (z Phi(z) + phi(z)),   z = (m - best) / s,

    of predicted mean m and standard deviation s over the best mean of the points already seen.

    The first ``initial`` points are random, each the cheapest of ``spare`` where costs are told,
    later ones random with probability ``epsilon``. Trials that run count as seen with the outcome
    that is predicted for them.
    """

    initial: int = hyper(8, integers(2, 32, log=True), "random points to start with")
    pool: int = hyper(256, one_of(64, 128, 256, 512), "candidates of each ask")
    local: float = hyper(0.75, uniform(0.0, 1.0), "share of candidates near the best points")
    elites: int = hyper(10, integers(1, 20, log=True), "how many of the best points these start at")
    epsilon: float = hyper(0.05, uniform(0.0, 0.3), "how often a random point is taken")
    bonus: float = hyper(1.5, uniform(0.0, 2.0), "standard deviations added to the prediction")
    per_cost: float = hyper(1.0, one_of(0.0, 0.5, 1.0), "exponent of the cost; 0: no matter")
    spare: int = hyper(4, one_of(1, 2, 4, 8), "random points of which the start takes the cheapest")
    weighed: int = hyper(8, one_of(4, 8, 16), "candidates of which the cost is asked")
    ridge: float = hyper(0.1, log_uniform(0.01, 10.0), "variance of noise over that of weights")
    linear: int = hyper(128, one_of(64, 128, 256), "hashed features, one decision each")
    random: int = hyper(256, one_of(128, 256, 512), "random Fourier features, many decisions each")

    def check(self) -> None:
        for name in ("initial", "pool", "elites", "spare", "weighed", "linear", "random"):
            low = 0 if name == "random" else 1
            if getattr(self, name) < low:
                raise ValueError(f"SMBO.{name} must be at least {low}; got {getattr(self, name)}.")
        for name in ("local", "epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"SMBO.{name} must be in [0, 1]; got {getattr(self, name)}.")
        if not 0 <= self.per_cost < math.inf:
            raise ValueError(
                f"SMBO.per_cost must be an exponent of at least 0; got {self.per_cost}. "
                "For a search that looks at no cost, give 0."
            )
        if not self.ridge > 0 or not self.bonus >= 0:
            raise ValueError(
                "SMBO needs ridge > 0 and bonus >= 0; "
                f"got ridge={self.ridge} and bonus={self.bonus}."
            )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _ModelBased(self, space, better)


class _ModelBased(Search):
    remembers = True

    def __init__(self, searcher: SMBO, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.smbo = searcher
        self.features = Features(searcher.linear, searcher.random, seed=0)
        self.phases = self.features.phases()
        self.candidates = candidates(self.program, self.features)
        self.model = Ridge(self.features.width, searcher.ridge)
        self.gains = array("d")  # of each row of the model; minus infinity where it failed
        self.products = np.zeros(self.features.width)
        self.in_order = np.zeros(0)  # gains when the targets were last made
        self.refreshed = 0
        self.best: list[tuple[float, int, Any]] = []  # with the candidates' handles
        self.rows: dict[int, np.ndarray] = {}  # of running trials
        self.taken = Taken()
        self.recalled = np.zeros(self.features.width)  # products of what earlier studies found
        self.recalls = 0

    # ------------------------------------------------------------------ hearing

    def started(self, trial: int, point: Point) -> None:
        self.rows[trial] = self._row(point)
        self.taken.add(point)

    def dropped(self, trial: int, point: Point) -> None:
        del self.rows[trial]
        self.taken.drop(point)

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        self._learn(self.rows.pop(trial), -math.inf if gain is None else gain)
        if gain is not None:
            entry = (-gain, len(self.gains), self.candidates.handle(point))
            bisect.insort(self.best, entry, key=lambda e: e[:2])
            del self.best[self.smbo.elites :]

    def refused(self, point: Point) -> None:
        self._learn(self._row(point), -math.inf)

    def recall(self, points: Sequence[Point], stood: Sequence[float], weight: float) -> None:
        rows = self.features.finish(self.candidates.sums(points), self.phases).astype(np.float64)
        rows[:, 0] = 0.0  # what is usual there tells nothing of what is usual here
        products = weight * (np.array(stood) @ rows)
        self.recalled = self.model.recall(weight * rows.T @ rows, products, self.recalled)
        self.recalls += len(points)

    def _row(self, point: Point) -> np.ndarray:
        return self.features.finish(self.candidates.sums([point]), self.phases)[0]

    def _learn(self, row: np.ndarray, gain: float) -> None:
        self.model.add(row)
        self.gains.append(gain)
        count = len(self.gains)
        if count - self.refreshed > count // 64:  # ranks change slowly once there are many
            gains = np.array(self.gains)
            self.in_order = np.sort(gains[np.isfinite(gains)])
            self.products = self.model.products(targets(gains, self.in_order))
            self.refreshed = count
        else:
            self.products += targets(np.array([gain]), self.in_order)[0] * row.astype(np.float64)

    # ------------------------------------------------------------------- asking

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        smbo = self.smbo
        if not self.recalls and (len(self.points) <= smbo.initial or not self.best):
            return cheapest(self.program, draw, costs if smbo.per_cost else None, smbo.spare)
        if draw.random() < smbo.epsilon:
            return self.program.sample(draw)
        local = round(smbo.pool * smbo.local)
        elites = [handle for _, _, handle in self.best]
        sums, handles = self.candidates.draw(smbo.pool - local, local, elites, draw)
        rows = self.features.finish(sums, self.phases)
        leant = self._leant(handles)
        weighing = costs is not None and smbo.per_cost > 0 and bool(self.best)
        found: dict[str, tuple[int, Point]] = {}
        for i in self._ranking(rows, leant):
            try:
                point = self.candidates.point(handles[i])
            except Infeasible:
                continue
            key = canonical(point)
            if key not in self.taken and key not in self.refusals:
                found.setdefault(key, (i, point))
            if len(found) == (smbo.weighed if weighing else 1):
                break
        if not found:
            return self.program.sample(draw)
        numbers, points = zip(*found.values(), strict=True)
        if costs is None or not weighing or len(points) == 1:
            return points[0]
        chosen = list(numbers)
        worth = self._improvement(rows[chosen]) + leant[chosen]
        return points[int(np.argmax(worth - np.log(priced(costs(points), smbo.per_cost))))]

    def _leant(self, handles: Any) -> np.ndarray:
        """What the logarithm of the acquisition gains by what the user believes."""
        if self.leaning is None:
            return np.zeros(len(handles), np.float32)
        power = self.leaning.power / self.leaning.spread
        return (power * self.candidates.log_densities(handles, self.leaning)).astype(np.float32)

    def _ranking(self, rows: np.ndarray, leant: np.ndarray) -> np.ndarray:
        """Numbers of the candidates, the most promising first."""
        merit = self._mean(rows) + leant
        order = np.argsort(-merit, kind="stable")
        if self.smbo.bonus:
            first = order[:MEASURED]
            merit[first] += self.smbo.bonus * self._spread(rows[first])
            order[:MEASURED] = first[np.argsort(-merit[first], kind="stable")]
        return order

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        products = self.products + self.recalled
        return rows @ (self.model.inverse @ products).astype(np.float32)

    def _spread(self, rows: np.ndarray) -> np.ndarray:
        """Standard deviations, with the trials that run as if they had ended."""
        inverse = self.model.inverse
        if self.rows:
            inverse = inverse.copy()
            for row in self.rows.values():
                shrink(inverse, row.astype(np.float64))
        return spread(inverse, rows, self.smbo.ridge)

    def _improvement(self, rows: np.ndarray) -> np.ndarray:
        """The logarithm of what is expected over the best mean of the elites."""
        elites = self.model.rows[[number - 1 for _, number, _ in self.best]]
        return log_improvement(
            self._mean(rows), self._spread(rows), float(self._mean(elites).max())
        )


def targets(gains: np.ndarray, in_order: np.ndarray) -> np.ndarray:
    """What the surrogate predicts: the logit of a gain's rank, on the scale of a normal score."""
    below = np.searchsorted(in_order, gains, "left")
    up_to = np.searchsorted(in_order, gains, "right")
    share = (below + up_to + 1) / (2 * len(in_order) + 2)
    return np.where(np.isfinite(gains), np.log(share / (1 - share)) / 1.7, WORST)
