"""Bayesian optimisation over trees, with local moves.

Source: ours. Its parts: expected improvement over a Gaussian process (Jones, Schonlau and Welch
1998, "Efficient global optimization of expensive black-box functions"), climbed by local search
from the best points seen and from random ones (Hutter, Hoos and Leyton-Brown 2011, "Sequential
model-based optimization for general algorithm configuration", section 4.3); kernels over trees as
in ``tree_features.py``; running trials as if they had ended with what is predicted for them
(Ginsbourger, Le Riche and Carraro 2010, "Kriging is well-suited to parallelize optimization",
section 4.2, the kriging believer); improvement per cost as in Snoek, Larochelle and Adams 2012,
arXiv:1206.2944, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.costs import cheapest, priced
from vitruvius.search.history import Better
from vitruvius.search.improvement import log_improvement
from vitruvius.search.niches import Niche, Niches
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.taken import Taken
from vitruvius.search.tree_features import Described
from vitruvius.search.tree_history import Ranked, Rows, Warp, centred
from vitruvius.search.tree_pool import Wanted, pool_of
from vitruvius.search.tree_process import Evidence, Scales, TreeProcess, fitted, prior
from vitruvius.space import Infeasible, Point, canonical, hyper, integers, one_of, uniform

FIRST = 4  # ended trials, before which the scales are those of the prior
GROWTH = 1.2  # of the number of ended trials, after which scales are fitted anew
FITTED = 128  # trials at most that scales are fitted to
CHANGES, INNER = (1, 1, 2, 4), (1, 1, 2)  # decisions that a move changes; in local search
BESIDE = 3  # points of no niche that are moved into it
PARENTS, MOVES = 8, 32  # of each round of local search
EARLIER = 64  # trials of earlier studies at most that the process looks at
STALLED = 40  # outcomes without a better one, after which every other ask is in a niche
KEPT = 24  # candidates at most between rounds


@dataclass(frozen=True)
class TreeBO(Searcher):
    """Take the candidate whose expected improvement is highest under a process over trees.

    The process sees every decision where it stands and the point as a whole: which options it
    holds, how many of each, which stand side by side. Candidates are random points, changes to the
    best ``elites``, crossings of two of them, and blocks of them copied, exchanged, added or left
    out; then the most promising are changed again, ``rounds`` times in all. The process looks at
    ``seen`` trials at most: the best third, the latest sixth, and some of all other ranks. Where
    costs are told, the candidate is taken that promises most for its price: improvement / cost **
    ``per_cost``.

    Three senses of improvement take turns: of a score, noise included, over the best mean of the
    points seen; of a score over the best score seen; of the mean over the best mean. The first
    two stay near the best where scores are noisy, the last looks elsewhere. One ask of ``niches``
    improves on the best point that takes another option than the best of all, where options open
    decisions of their own (another optimizer, another depth): what has to change together with the
    option is found before it is compared. After 40 outcomes without a better one, every other ask
    does.

    The first ``initial`` points are random, each the cheapest of ``spare`` where costs are told;
    later ones with probability ``epsilon``.
    """

    initial: int = hyper(4, integers(2, 32, log=True), "random points to start with")
    seen: int = hyper(100, one_of(50, 100, 200, 400), "ended trials that the process looks at")
    elites: int = hyper(10, integers(1, 20, log=True), "best points that are changed")
    random: int = hyper(16, one_of(8, 16, 32, 64), "random candidates of each ask")
    local: int = hyper(48, one_of(24, 48, 96), "candidates near the best points")
    crossed: int = hyper(16, one_of(0, 16, 32), "candidates that are crossed of two of them")
    blocks: int = hyper(16, one_of(0, 16, 32), "candidates in which whole blocks are moved")
    niches: int = hyper(5, one_of(0, 3, 5, 10), "one ask of so many is in a niche; 0: none")
    rounds: int = hyper(2, one_of(1, 2, 3, 4), "of search among the candidates")
    epsilon: float = hyper(0.02, uniform(0.0, 0.2), "how often a random point is taken")
    per_cost: float = hyper(1.0, one_of(0.0, 0.5, 1.0), "exponent of the cost; 0: no matter")
    spare: int = hyper(4, one_of(1, 2, 4, 8), "random points of which the start takes the cheapest")
    weighed: int = hyper(8, one_of(4, 8, 16), "candidates of which the cost is asked")

    def check(self) -> None:
        least = {"seen": 8, "local": 0, "crossed": 0, "blocks": 0, "niches": 0}
        for name in ("initial", "elites", "random", "rounds", "spare", "weighed", *least):
            low = least.get(name, 1)
            if getattr(self, name) < low:
                raise ValueError(
                    f"TreeBO.{name} must be at least {low}; got {getattr(self, name)}."
                )
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"TreeBO.epsilon must be in [0, 1]; got {self.epsilon}.")
        if not 0 <= self.per_cost < math.inf:
            raise ValueError(
                f"TreeBO.per_cost must be an exponent of at least 0; got {self.per_cost}. "
                "For a search that looks at no cost, give 0."
            )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _TreeBO(self, space, better)


class _TreeBO(Search):
    remembers = True

    def __init__(self, searcher: TreeBO, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.bo = searcher
        self.pool = pool_of(self.program)
        self.handles: list[Any] = []  # of trials that ended, and of points that were refused
        self.rows = Rows()
        self.gains = Ranked()  # of the same; minus infinity where one failed
        self.running: dict[int, Any] = {}
        self.niches = Niches(self.pool.niches)
        self.taken = Taken()
        self.keys: set[Any] = set()
        self.scales: tuple[tuple[int, int], Scales] | None = None  # and what they were fitted to
        self.recalled: list[tuple[float, Any]] = []  # standings and handles, the best first
        self.trust = 1.0

    # ------------------------------------------------------------------ hearing

    def started(self, trial: int, point: Point) -> None:
        self.running[trial] = self.pool.handle(point)
        self.taken.add(point)

    def dropped(self, trial: int, point: Point) -> None:
        del self.running[trial]
        self.taken.drop(point)

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        self._learn(self.running.pop(trial), gain)

    def refused(self, point: Point) -> None:
        self._learn(self.pool.handle(point), None)

    def _learn(self, handle: Any, gain: float | None) -> None:
        gain = -math.inf if gain is None else gain
        self.gains.add(gain)
        self.niches.add(self.pool.inside(handle), len(self.handles), gain)
        self.handles.append(handle)
        self.rows.add(self.pool.described([handle]))
        self.keys.update(self.pool.keys([handle]))

    def recall(self, points: Sequence[Point], stood: Sequence[float], weight: float) -> None:
        known = [(s, self.pool.handle(p)) for s, p in zip(stood, points, strict=True)]
        self.recalled = sorted(self.recalled + known, key=lambda one: -one[0])
        self.trust = weight

    # ------------------------------------------------------------------- asking

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        bo, gains, order = self.bo, self.gains.values(), self.gains.order()
        blind = len(self.points) <= bo.initial or not np.isfinite(gains).any()
        if blind and not self.recalled:
            return cheapest(self.program, draw, costs if bo.per_cost else None, bo.spare)
        if draw.random() < bo.epsilon:
            return self.program.sample(draw)
        rng = np.random.default_rng(draw.getrandbits(64))
        chosen, warp = self._looked_at(order), Warp(gains)
        targets = warp(gains[chosen])
        process = self._process(self._fitted(gains), chosen, targets)
        aim = self._aim(process, order)
        if aim.trials:
            aim = replace(aim, best=float(warp(gains[aim.trials[:1]])[0] - targets.mean()))
        handles, worth = self._searched(process, aim, rng)
        weighing = costs is not None and bo.per_cost > 0
        found: dict[str, tuple[Point, float]] = {}
        for handle, promise in zip(handles, worth, strict=True):
            try:
                point = self.pool.point(handle, rng)
            except Infeasible:
                continue
            key = canonical(point)
            if key not in self.taken and key not in self.refusals:
                found.setdefault(key, (point, promise))
            if len(found) == (bo.weighed if weighing else 1):
                break
        if not found:
            return self.program.sample(draw)
        points, promises = zip(*found.values(), strict=True)
        if costs is None or len(points) == 1:
            return points[0]
        return points[int(np.argmax(promises - np.log(priced(costs(points), bo.per_cost))))]

    def _aim(self, process: TreeProcess, order: np.ndarray) -> _Aim:
        """What the ask at this number of trials tries to improve on."""
        bo, turn = self.bo, len(self.points) % 3
        own = process.evidence.own or len(process.evidence.targets)
        seen = process.evidence.targets if turn == 1 else process.means_of_seen()
        noise, best = process.scales.noise if turn < 2 else 0.0, float(seen[:own].max())
        parents = [self.handles[i] for i in order[: bo.elites]]
        parents += [handle for _, handle in self.recalled[: bo.elites - len(parents)]]
        stalled = len(self.handles) - 1 - order[0] if len(order) else 0
        every = 2 if bo.niches and stalled > STALLED else bo.niches
        if not every or len(self.points) % every != every - 1 or not len(order):
            return _Aim(parents, best, noise)
        around = self.pool.inside(self.handles[order[0]])
        found = self.niches.next(len(self.points) // every, around)
        if found is None:
            return _Aim(parents, best, noise)
        niche, trials = found
        mine = [self.handles[i] for i in trials]
        return _Aim(mine + parents[:BESIDE], best, 0.0, niche, trials)

    def _searched(
        self, process: TreeProcess, aim: _Aim, rng: np.random.Generator
    ) -> tuple[list[Any], np.ndarray]:
        """The most promising candidates, best first, and the logarithm of what each promises."""
        bo, pool, parents = self.bo, self.pool, aim.parents
        wanted = Wanted(bo.random, bo.local, bo.crossed, CHANGES, bo.blocks)
        handles: list[Any] = []
        worth = np.zeros(0)
        for step in range(bo.rounds):
            if step:
                parents, wanted = handles[:PARENTS], Wanted(0, MOVES, 0, INNER, bo.blocks // 2)
            drawn, described = pool.drawn(parents, wanted, rng, aim.niche)
            mean, spread = process.predicted(described)
            spread = np.sqrt(spread**2 + aim.noise)
            found = log_improvement(mean, spread, aim.best) + self._leant(drawn)
            handles, worth = handles + drawn, np.concatenate([worth, found])
            first = np.argsort(-worth, kind="stable")
            if step == bo.rounds - 1:
                keys = pool.keys(handles)
                first = np.array([i for i in first if keys[i] not in self.keys], int)
            first = first[:KEPT]
            handles, worth = [handles[i] for i in first], worth[first]
        return handles, worth

    def _leant(self, handles: list[Any]) -> np.ndarray:
        """What the logarithm of the acquisition gains by what the user believes."""
        if self.leaning is None:
            return np.zeros(len(handles))
        power = self.leaning.power / self.leaning.spread
        return power * self.pool.log_densities(handles, self.leaning)

    # --------------------------------------------------------------- the process

    def _process(self, scales: Scales, chosen: np.ndarray, targets: np.ndarray) -> TreeProcess:
        """What is known of these trials, of those that run, and of earlier studies."""
        groups, points, mine = self.pool.groups, self.rows.take(chosen), centred(targets)
        process = TreeProcess(groups, scales, self._with_earlier(points, mine))
        if self.running:
            more = self.pool.described(list(self.running.values()))
            mine = np.concatenate([mine, process.predicted(more)[0]])
            points = more if points is None else points.with_(more)
            process = TreeProcess(groups, scales, self._with_earlier(points, mine))
        return process

    def _with_earlier(self, points: Described | None, targets: np.ndarray) -> Evidence:
        """Trials of this study, and those of earlier ones: the best half, and some of the rest."""
        if not self.recalled:
            assert points is not None
            return Evidence(points, targets)
        known = self.recalled
        if len(known) > EARLIER:
            rest = known[EARLIER // 2 :]
            known = known[: EARLIER // 2] + rest[:: math.ceil(2 * len(rest) / EARLIER)]
        more = self.pool.described([handle for _, handle in known])
        points = more if points is None else points.with_(more)
        stood = centred(np.array([standing for standing, _ in known]))
        return Evidence(points, np.concatenate([targets, stood]), len(known), self.trust)

    def _fitted(self, gains: np.ndarray) -> Scales:
        """The scales, fitted to a beginning of the history whose length grows by ``GROWTH``.

        They depend on that beginning and on earlier studies alone, so that it is no matter when one
        asked.
        """
        length = FIRST
        while math.ceil(length * GROWTH) <= len(gains):
            length = math.ceil(length * GROWTH)
        first = gains[:length]
        if len(gains) < FIRST or not np.isfinite(first).any():
            length, first = 0, gains[:0]
            if not self.recalled:
                return prior(self.pool.groups)
        fitted_to = length, len(self.recalled)
        if self.scales is None or self.scales[0] != fitted_to:
            order = np.argsort(-first, kind="stable")
            if length > FITTED:
                late = np.sort(order[FITTED // 2 :])[FITTED // 2 - FITTED :]
                order = np.concatenate([order[: FITTED // 2], late])
            mine = centred(Warp(first)(first[order]))
            evidence = self._with_earlier(self.rows.take(order), mine)
            self.scales = fitted_to, fitted(self.pool.groups, evidence)
        return self.scales[1]

    def _looked_at(self, order: np.ndarray) -> np.ndarray:
        """Numbers of the trials that the process looks at."""
        count, limit = len(order), self.bo.seen
        if count <= limit:
            return np.arange(count)
        best, rest = order[: limit // 3], order[limit // 3 :]
        first = np.sort(rest)[-(limit // 6)]
        late, rest = rest[rest >= first], rest[rest < first]
        others = np.linspace(0, len(rest) - 1, limit - len(best) - len(late))
        return np.sort(np.concatenate([best, late, rest[others.astype(int)]]))


@dataclass(frozen=True)
class _Aim:
    """What an ask tries to improve on, and from where."""

    parents: list[Any]
    best: float
    noise: float  # variance that counts as a chance
    niche: Niche | None = None
    trials: list[int] = field(default_factory=list)  # of the niche, the best first: to improve on
