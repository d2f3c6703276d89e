"""BOSHNAS: search in an embedding, by nets that know what they do not know.

Source: Tuli, Dedhia, Tuli and Jha 2023, "FlexiBERT: Are Current Transformer Architectures too
Homogeneous and Rigid?", arXiv:2205.11656, sections 3.5 to 3.7 (Bayesian optimisation using
second-order gradients and a heteroscedastic surrogate for neural architecture search).
Differs from the paper: points of any tree have a vector (``embedding.py``), so that the library is
drawn anew at each ask, near to the best points and at random, and moves towards the optimised
inputs; the nets predict the rank of a score, whatever its scale; they are fitted at numbers of
outcomes that grow by a fifth, and corrected in closed form by all; no point is asked twice.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.embedding import Embedding
from vitruvius.search.history import Better, generator
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.taken import Taken
from vitruvius.space import (
    Infeasible,
    Point,
    canonical,
    enumerate_points,
    hyper,
    integers,
    log_uniform,
    one_of,
    uniform,
)

Library = tuple[np.ndarray, list[Any]]  # vectors [points, dimensions], handles on the points

SPARSE = 16  # combinations of labels for each point of the library, up to which all are tried
GROWTH = 1.2  # of the number of outcomes, from one fit of the nets to the next
ROUNDS = 2  # of moves from the points nearest to the optimised inputs towards these
MOVES = 16  # for each of them, in each round


@dataclass(frozen=True)
class BOSHNAS(Searcher):
    """Optimise the input of a neural surrogate, and take the most promising point near to it.

    The bound that is maximised over vectors x is

        mu(x) + bonus * (xi(x) + sigma(x)),

    with mean mu and aleatoric deviation sigma of a natural-parameter network, and the epistemic
    deviation xi that a student has learnt of a teacher with dropout. sigma counts only once the
    best has not changed for ``patience`` outcomes. The first ``initial`` points are random, later
    ones random with probability ``diverse``, and the least certain of the library with probability
    ``uncertain``. It needs torch, and some tenths of a second for a fit.
    """

    initial: int = hyper(10, integers(4, 32, log=True), "random points to start with")
    dimensions: int = hyper(32, one_of(16, 32, 64), "of the embedding")
    members: int = hyper(4, one_of(1, 2, 4, 8), "nets of each kind, trained at once")
    steps: int = hyper(40, one_of(20, 40, 80, 160), "steps of each training, with all points")
    dropout: float = hyper(0.1, uniform(0.05, 0.3), "of the teacher")
    passes: int = hyper(10, one_of(5, 10, 20), "draws of dropout")
    bonus: float = hyper(3.0, log_uniform(0.1, 10.0), "standard deviations added to the mean")
    uncertain: float = hyper(0.05, one_of(0.0, 0.05, 0.1), "how often the least certain is taken")
    diverse: float = hyper(0.05, one_of(0.0, 0.05, 0.1), "how often a random point is taken")
    patience: int = hyper(5, one_of(3, 5, 10), "outcomes without a better one until noise counts")
    pool: int = hyper(256, one_of(128, 256, 512), "points of the library of an ask")
    local: float = hyper(0.75, uniform(0.0, 1.0), "share of these near the best points")
    elites: int = hyper(10, integers(1, 20, log=True), "how many of the best points these start at")
    restarts: int = hyper(10, one_of(5, 10, 20), "inputs that are optimised at once")
    climb: int = hyper(10, one_of(5, 10, 20, 50), "steps by second-order gradients, at most")
    rate: float = hyper(0.5, log_uniform(0.05, 1.0), "length of a step, over gradient / curvature")

    def check(self) -> None:
        least = {"initial": 2, "dimensions": 4, "steps": 1, "climb": 0, "passes": 2}
        counts = ("members", "patience", "pool", "elites", "restarts")
        for name, low in {**least, **dict.fromkeys(counts, 1)}.items():
            if getattr(self, name) < low:
                raise ValueError(
                    f"BOSHNAS.{name} must be at least {low}; got {getattr(self, name)}."
                )
        if not 0 < self.dropout < 1 or not 0 <= self.local <= 1:
            raise ValueError(
                "BOSHNAS needs dropout in (0, 1) and local in [0, 1]; "
                f"got dropout={self.dropout} and local={self.local}."
            )
        if min(self.uncertain, self.diverse) < 0 or self.uncertain + self.diverse > 1:
            raise ValueError(
                "BOSHNAS.uncertain and .diverse are probabilities whose sum is at most 1; "
                f"got {self.uncertain} and {self.diverse}."
            )
        if not self.bonus >= 0 or not self.rate > 0:
            raise ValueError(
                "BOSHNAS needs bonus >= 0 and rate > 0; "
                f"got bonus={self.bonus} and rate={self.rate}."
            )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        from vitruvius.surrogates import boshnas_nets

        return _Boshnas(self, space, better, boshnas_nets)


class _Boshnas(Search):
    def __init__(self, searcher: BOSHNAS, space: Any, better: Better, nets: Any) -> None:
        super().__init__(searcher, space, better)
        self.boshnas, self.nets = searcher, nets
        self.embedding = Embedding(self.program, searcher.dimensions)
        self.every = self._every()
        self.outcomes: list[tuple[int | None, np.ndarray, float]] = []  # trial, vector, gain
        self.best: list[tuple[float, int, Any]] = []  # with the candidates' handles
        self.improved = 0  # number of outcomes when the best last changed
        self.running: dict[int, np.ndarray] = {}
        self.taken = Taken()
        self._fitted: tuple[int, Any] | None = None  # kept, for it follows from the outcomes

    def _every(self) -> list[Point] | None:
        """All points, where these are no more than the library holds."""
        combinations = 1  # at least as many as there are points
        for decision in self.program.unfold():
            combinations *= decision.domain.size or math.inf
            if combinations > SPARSE * self.boshnas.pool:
                return None
        found = list(islice(enumerate_points(self.space), self.boshnas.pool + 1))
        return found if len(found) <= self.boshnas.pool else None

    # ------------------------------------------------------------------ hearing

    def started(self, trial: int, point: Point) -> None:
        self.running[trial] = self.embedding.of([point])[0]
        self.taken.add(point)

    def dropped(self, trial: int, point: Point) -> None:
        del self.running[trial]
        self.taken.drop(point)

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        vector = self.running.pop(trial)
        self.outcomes.append((trial, vector, -math.inf if gain is None else gain))
        if gain is None:
            return
        entry = (-gain, len(self.outcomes), self.embedding.candidates.handle(point))
        bisect.insort(self.best, entry, key=lambda e: e[:2])
        del self.best[self.boshnas.elites :]
        if self.best[0] is entry:
            self.improved = len(self.outcomes)

    def refused(self, point: Point) -> None:
        self.outcomes.append((None, self.embedding.of([point])[0], -math.inf))

    def nearest(self, point: Point) -> int | None:
        """The trial with a score whose tree is the most similar: whose weights to start from."""
        known = [(trial, vector) for trial, vector, gain in self.outcomes if gain > -math.inf]
        if not known:
            return None
        gaps = np.linalg.norm(np.stack([v for _, v in known]) - self.embedding.of([point]), axis=1)
        return known[int(gaps.argmin())][0]

    # ------------------------------------------------------------------- asking

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        boshnas = self.boshnas
        if len(self.points) < boshnas.initial or not self.best:
            return self.program.sample(draw)
        luck = draw.random()
        if luck < boshnas.diverse:
            return self.program.sample(draw)
        vectors, handles = self._library(draw)
        if not handles:
            return self.program.sample(draw)
        with self.nets.one_thread():
            surrogate = self._surrogate()
            if luck < boshnas.diverse + boshnas.uncertain:
                merit = self.nets.values(surrogate.uncertainty, vectors)
            else:
                stuck = len(self.outcomes) - self.improved >= boshnas.patience
                bound = partial(surrogate.bound, bonus=boshnas.bonus, noise=stuck)
                if self.every is None and boshnas.climb:
                    vectors, handles = self._towards(bound, vectors, handles, draw)
                merit = self.nets.values(bound, vectors)
        for i in np.argsort(-merit, kind="stable"):
            with contextlib.suppress(Infeasible):
                point = self._point(handles[i])
                if self._free(point):
                    return point
        return self.program.sample(draw)

    def _library(self, draw: Random) -> Library:
        """Vectors of candidates, and handles on them: all that are left, or some."""
        if self.every is not None:
            left = [point for point in self.every if self._free(point)]
            return (self.embedding.of(left) if left else np.zeros((0, 0))), left
        local = round(self.boshnas.pool * self.boshnas.local)
        elites = [handle for _, _, handle in self.best]
        sums, handles = self.embedding.candidates.draw(
            self.boshnas.pool - local, local, elites, draw
        )
        return self.embedding.vectors(sums), list(handles)

    def _towards(
        self, bound: Any, vectors: np.ndarray, handles: list[Any], draw: Random
    ) -> Library:
        """The library, with points that lie near to where the bound is highest (GOBI).

        Inputs climb from the ``restarts`` most promising vectors and as many random ones, each
        within the library's bounds; then the library's nearest points make small moves, of which
        those that come nearer are moved again.
        """
        restarts = min(self.boshnas.restarts, len(handles))
        first = np.argsort(-self.nets.values(bound, vectors), kind="stable")[: -(-restarts // 2)]
        others = draw.sample(range(len(handles)), restarts // 2)
        goals = self.nets.climbed(
            bound,
            vectors[[*first, *others]],
            vectors.min(0),
            vectors.max(0),
            self.boshnas.climb,
            self.boshnas.rate,
            draw.getrandbits(63),
        )
        candidates = self.embedding.candidates
        for _ in range(ROUNDS):
            gaps = ((goals[:, None] - vectors[None]) ** 2).sum(-1)
            near = []
            for i in dict.fromkeys(gaps.argmin(1).tolist()):
                with contextlib.suppress(Infeasible):
                    near.append(candidates.handle(candidates.point(handles[i])))
            if near:
                sums, moved = candidates.draw(0, MOVES * restarts, near, draw)
                vectors = np.concatenate([vectors, self.embedding.vectors(sums)])
                handles = [*handles, *moved]
        return vectors, handles

    def _surrogate(self) -> Any:
        """The nets of the last length at which they are fitted, and all that was told."""
        length = fitted_at(len(self.outcomes))
        gains = np.array([gain for _, _, gain in self.outcomes])
        in_order = np.sort(gains[:length][np.isfinite(gains[:length])])
        vectors = [vector for _, vector, _ in self.outcomes]
        if self._fitted is None or self._fitted[0] != length:
            boshnas = self.boshnas
            settings = self.nets.Settings(
                boshnas.members, boshnas.steps, boshnas.dropout, boshnas.passes
            )
            seed = generator(boshnas.seed, length)
            fitted = self.nets.fit(
                np.stack(vectors[:length]),
                ranks(gains[:length], in_order),
                self.embedding.reference,
                settings,
                seed.getrandbits(63),
            )
            self._fitted = length, fitted
        points = [*vectors, *self.running.values()]
        values = [*ranks(gains, in_order), *[math.nan] * len(self.running)]
        return self._fitted[1].told(np.array(points), np.array(values))

    def _point(self, handle: Any) -> Point:
        return handle if self.every is not None else self.embedding.candidates.point(handle)

    def _free(self, point: Point) -> bool:
        key = canonical(point)
        return key not in self.taken and key not in self.refusals


def fitted_at(count: int) -> int:
    """The last of the lengths 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, ... that is at most ``count``: each
    is ``GROWTH`` times the one before, rounded up, and at least one more."""
    length = 1
    while (following := max(length + 1, math.ceil(GROWTH * length))) <= count:
        length = following
    return length


def ranks(gains: np.ndarray, in_order: np.ndarray) -> np.ndarray:
    """The share of the sorted gains that each surpasses, in (0, 1); 0 for minus infinity."""
    below = np.searchsorted(in_order, gains, "left")
    up_to = np.searchsorted(in_order, gains, "right")
    return np.where(np.isfinite(gains), (below + up_to + 1) / (2 * len(in_order) + 2), 0.0)
