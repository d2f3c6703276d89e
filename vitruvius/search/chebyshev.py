"""Several objectives for any searcher that knows one: weights drawn anew for each trial.

Source: Knowles 2006, "ParEGO: A Hybrid Algorithm with On-line Landscape Approximation for Expensive
Multiobjective Optimization Problems", IEEE Transactions on Evolutionary Computation 10(1), section
III: the augmented Chebyshev function with weights that are drawn before each evaluation.
Differs from the paper: objectives enter as ranks, so that parameters over four decades and a score
between 0.9 and 1 are on one scale and no range need be known; weights are uniform on the simplex;
the model is any searcher, which hears the whole history anew under the weights of each trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.history import Better, Event, cost_of, generator, outcome
from vitruvius.search.leaning import Leaning
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.wrapping import Wrapping
from vitruvius.space import Point, hyper, log_uniform

SALT = -3  # of the weights of a trial
WORST = 1.0  # rank of a cost that was not measured


@dataclass(frozen=True)
class Chebyshev(Searcher):
    """Search for a good score and small costs at once, along all of their Pareto front.

    Each trial has weights w, uniform on the simplex, from the seed and its number. The searcher
    inside hears of each trial that ended the gain

        -(max_k w_k r_k + augmented * sum_k w_k r_k)

    of its ranks r in [0, 1] among the trials at the same share of the horizon, 0 for the best score
    and the smallest cost. An ask replays the history, so it takes as long as hearing all of it. The
    seed is that of the searcher inside.
    """

    searcher: Searcher = hyper(RandomSearch(), None, "the searcher that is asked")
    also: tuple[str, ...] = hyper(("parameters",), None, "costs of a trial that are to be small")
    augmented: float = hyper(0.05, log_uniform(0.01, 0.5), "weight of the sum beside the largest")

    def check(self) -> None:
        if not self.also or not all(isinstance(name, str) and name for name in self.also):
            raise ValueError(
                f"Chebyshev.also must name costs, such as ('parameters',); got {self.also!r}. "
                "For a good score alone, leave Chebyshev out."
            )
        if not self.augmented >= 0:
            raise ValueError(f"Chebyshev.augmented must be at least 0; got {self.augmented}.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Chebyshev(self, space, better)


class _Chebyshev(Wrapping):
    def __init__(self, searcher: Chebyshev, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better, searcher.searcher.begin(space))
        self.chebyshev = searcher
        self.events: list[Event] = []
        self.believed: Leaning | None = None
        self.folded: tuple[int, int] | None = None  # trial and number of events of ``inner``

    # ------------------------------------------------------------------ hearing

    def hear(self, event: Event) -> None:
        Search.hear(self, event)
        self.events.append(event)

    def lean(self, leaning: Leaning) -> None:
        self.believed, self.folded = leaning, None

    # ------------------------------------------------------------------- asking

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        self._fold(trial)
        return self.inner.ask(trial, attempt, costs)

    def share(self, point: Point) -> float:
        if self.folded is None or self.folded[1] != len(self.events):
            self._fold(0)  # under whatever weights: a share follows from what was asked
        return self.inner.share(point)

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        return self.inner.propose(draw, costs)

    def _fold(self, trial: int) -> None:
        """Let the searcher inside hear all events, under the weights of a trial."""
        if self.folded == (trial, len(self.events)):
            return
        self.inner = self.chebyshev.searcher.begin(self.space)
        if self.believed is not None:
            self.inner.lean(self.believed)
        for event in self._weighed(weights(self.seed, trial, 1 + len(self.chebyshev.also))):
            self.inner.hear(event)
        self.folded = trial, len(self.events)

    def _weighed(self, weights: np.ndarray) -> list[Event]:
        """The events, with gains that are of all objectives together."""
        rows: dict[float, list[tuple[int, list[float]]]] = {}  # by share: number, objectives
        shares: dict[int, float] = {}
        sign = -1.0 if self.better == "higher" else 1.0
        for number, event in enumerate(self.events):
            if event.kind == "asked":
                shares[event.trial] = event.body.get("share", 1.0)
            elif event.kind in ("told", "stopped") and (score := outcome(event)) is not None:
                costs = [cost_of(event.body, name) for name in self.chebyshev.also]
                small = [np.inf if cost is None else cost for cost in costs]
                rows.setdefault(shares.get(event.trial, 1.0), []).append(
                    (number, [sign * score, *small])
                )
        found = [self._earlier(e, weights) if e.kind == "earlier" else e for e in self.events]
        for group in rows.values():
            gains = scalarized([values for _, values in group], weights, self.chebyshev.augmented)
            for (number, _), gain in zip(group, gains, strict=True):
                event = self.events[number]
                body: Mapping[str, Any] = {**event.body, "score": float(gain)}
                found[number] = Event(event.sequence, event.kind, event.trial, body)
        return found

    def _earlier(self, event: Event, weights: np.ndarray) -> Event:
        """What another study found, with gains under the weights among its own trials."""
        trials = [dict(trial) for trial in event.body["trials"]]
        sign = 1.0 if event.body.get("better") == "lower" else -1.0
        ended = [t for t in trials if outcome(Event(0, "told", 0, t)) is not None]
        if ended:
            costs = [[cost_of(t, name) for name in self.chebyshev.also] for t in ended]
            rows = [
                [sign * t["score"], *(np.inf if c is None else c for c in own)]
                for t, own in zip(ended, costs, strict=True)
            ]
            gains = scalarized(rows, weights, self.chebyshev.augmented)
            for trial, gain in zip(ended, gains, strict=True):
                trial["score"] = float(gain)
        body = {**event.body, "trials": trials, "better": "higher"}
        return Event(event.sequence, event.kind, event.trial, body)


def weights(seed: int, trial: int, count: int) -> np.ndarray:
    """Uniform on the simplex, a function of the seed and the trial."""
    draw = generator(seed, trial, SALT)
    found = np.array([draw.expovariate(1.0) for _ in range(count)])
    return found / found.sum()


def scalarized(
    costs: Sequence[Sequence[float]], weights: np.ndarray, augmented: float
) -> np.ndarray:
    """Gains of rows of costs (small is good): minus the augmented Chebyshev function of ranks."""
    ranks = np.stack([_ranks(column) for column in np.array(costs, dtype=float).T], axis=1)
    weighed = ranks * weights
    return -(weighed.max(axis=1) + augmented * weighed.sum(axis=1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """In [0, 1], 0 for the smallest; equal values share the mean of their ranks."""
    known = np.sort(values[np.isfinite(values)])
    if len(known) < 2:
        return np.where(np.isfinite(values), 0.0, WORST)
    below = np.searchsorted(known, values, "left")
    up_to = np.searchsorted(known, values, "right")
    return np.where(np.isfinite(values), (below + up_to - 1) / 2 / (len(known) - 1), WORST)
