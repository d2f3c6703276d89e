"""Many points for a short time, the better ones for longer: what ASHA and successive halving share.

Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", arXiv:1502.07943; new points from a model of one rung as in Falkner, Klein and Hutter
2018, "BOHB", arXiv:1807.01774, section 3.
Differs from the sources: the model is any searcher; a promotion continues its training and restarts
nothing, so that a share is of one and the same schedule.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.curves import Curves
from vitruvius.search.fresh import Exhausted, fresh
from vitruvius.search.history import Better, Event, asked, generator, told
from vitruvius.search.leaning import Leaning
from vitruvius.search.rank_fidelity import LEAST, RankFidelity
from vitruvius.search.rung_plan import plan_rungs
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.tree_bo import TreeBO
from vitruvius.space import Point, canonical, hyper, integers, one_of, uniform

GROUP = 64  # designs for which measured rungs are placed, where a searcher does not say how many


@dataclass(frozen=True)
class Halving(Searcher, ABC):
    """Points begin at the smallest share of their horizon; the best of a rung go on to the next.

    The shares are powers of ``1 / eta`` from 1 down to ``least``. The searcher inside is begun once
    for each share and hears only scores of that share. New points come from the one of the highest
    share at which ``enough`` points have a score, else from that of the smallest. Its seed is added
    to this one.

    With ``rungs="measured"`` the first ``whole`` points are trained to their end, and their scores
    on the way say where rungs stand and how many go on (``RankFidelity``, ``RungPlan``). Where that
    chooses no better than fewer whole trainings would, all run whole until half as many more have
    ended. ``eta`` and ``least`` then say nothing.
    """

    searcher: Searcher = hyper(TreeBO(), None, "names new points; begun once for each share")
    eta: int = hyper(3, one_of(2, 3, 4), "one of so many points of a rung goes on to the next")
    least: float = hyper(1 / 9, one_of(1 / 27, 1 / 9, 1 / 3), "smallest share of the horizon")
    enough: int = hyper(10, integers(4, 32, log=True), "scores at a share that a model needs")
    tries: int = hyper(8, one_of(1, 2, 4, 8, 16, 32), "how often it is asked for a new point")
    rungs: str = hyper("powers", one_of("powers", "measured"), "how the shares are chosen")
    whole: int = hyper(12, one_of(8, 12, 16, 24), "points trained whole to measure rungs")
    cost: float = hyper(0.4, uniform(0.2, 0.6), "of whole trainings, that measured rungs may take")
    stage: str | None = hyper(None, None, "class of the stage that is cut; None: the last that can")

    def check(self) -> None:
        name = type(self).__name__
        if isinstance(self.searcher, Halving):
            raise ValueError(
                f"{name}.searcher must name points for whole trainings; "
                f"got {type(self.searcher).__name__}. Give it what that one holds."
            )
        if self.eta < 2:
            raise ValueError(f"{name}.eta must be at least 2; got {self.eta}.")
        if not 0 < self.least <= 1 / self.eta:
            raise ValueError(
                f"{name}.least must be a share above 0 and at most 1 / eta = {1 / self.eta:.3g}; "
                f"got {self.least}. For whole trainings alone, leave {name} out."
            )
        if self.rungs not in ("powers", "measured"):
            raise ValueError(f"{name}.rungs is 'powers' or 'measured'; got {self.rungs!r}.")
        if self.whole < LEAST or not 0 < self.cost < 1:
            raise ValueError(
                f"{name} needs whole of at least {LEAST} points and a cost above 0 and below 1; "
                f"got whole={self.whole} and cost={self.cost}."
            )
        if self.rungs == "measured" and self.stage is not None:
            raise ValueError(
                f"{name}.rungs can be measured for the last stage alone, whose scores on the way "
                f"are the study's; got stage={self.stage!r}. Leave one of the two out."
            )
        for field in ("enough", "tries"):
            if getattr(self, field) < 1:
                raise ValueError(f"{name}.{field} must be at least 1; got {getattr(self, field)}.")

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the rungs, the smallest first and 1 last."""
        steps = int(math.log(1 / self.least) / math.log(self.eta) + 1e-9)
        return tuple(float(self.eta) ** -k for k in range(steps, -1, -1))


@dataclass(frozen=True)
class Ended:
    """A point that has run to a rung."""

    gain: float
    """Minus infinity where it failed."""
    trial: int
    key: str
    """Canonical JSON of the point."""

    @property
    def order(self) -> tuple[float, int]:
        """Best first; of equals the first one tried."""
        return -self.gain, self.trial

    @property
    def sound(self) -> bool:
        return self.gain > -math.inf


class HalvingSearch(Search, ABC):
    """A search whose points climb from rung to rung; rung 0 is that of the smallest share."""

    def __init__(self, searcher: Halving, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.halving, self.stage = searcher, searcher.stage
        measured = searcher.rungs == "measured"
        self.rungs = (1.0,) if measured else searcher.shares
        self.ratios: tuple[float, ...] = ()  # of those at each rung that go on, where measured
        self.curves = Curves(better) if measured else None
        self.fidelity: RankFidelity | None = None
        self.look = searcher.whole  # points that must have ended before rungs are placed
        self.group = GROUP
        self.inside = searcher.searcher.replace(seed=searcher.searcher.seed + searcher.seed)
        self.inner = [self.inside.begin(space, better) for _ in self.rungs]
        self.asked: list[dict[str, int]] = [{} for _ in self.rungs]  # points that run or ran there
        self.ends: list[dict[str, Ended]] = [{} for _ in self.rungs]
        self.results: list[list[Ended]] = [[] for _ in self.rungs]  # the same, best first
        self.named: dict[str, Point] = {}

    # ------------------------------------------------------------------ hearing

    def hear(self, event: Event) -> None:
        before = self.shares.get(event.trial)
        if self.curves is not None:
            self.curves.hear(event)
        super().hear(event)
        if event.kind in ("rejected", "earlier"):  # at whatever share
            for inner in self.inner:
                inner.hear(event)
            return
        now = self.shares.get(event.trial)
        if now is None:
            return
        if event.kind == "asked" and before is not None and before != now:
            self.inner[self.rung(before)].hear(Event(event.sequence, "lost", event.trial))
        self.inner[self.rung(now)].hear(event)
        if self.curves is not None and self.fidelity is None and len(self.results[0]) >= self.look:
            self._place(self.curves)

    def started(self, trial: int, point: Point) -> None:
        key, there = canonical(point), self.asked[self.rung(self.shares[trial])]
        there[key] = there.get(key, 0) + 1
        self.named[key] = point

    def dropped(self, trial: int, point: Point) -> None:
        key, there = canonical(point), self.asked[self.rung(self.shares[trial])]
        there[key] -= 1
        if not there[key]:
            del there[key]

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        one = Ended(-math.inf if gain is None else gain, trial, canonical(point))
        self._note(self.rung(self.shares[trial]), one)

    def _note(self, rung: int, one: Ended) -> None:
        if self.curves is not None and self.fidelity is not None and rung < len(self.rungs) - 1:
            one = replace(one, gain=self._foreseen(rung, one))
        if one.key not in self.ends[rung]:
            self.ends[rung][one.key] = one
            bisect.insort(self.results[rung], one, key=lambda e: e.order)

    def most(self, rung: int, count: int) -> int:
        """How many of so many points at a rung go on, rounded down."""
        if self.curves is None:
            return count // self.halving.eta
        return int(count * self.ratios[rung] + 1e-9)

    def _place(self, curves: Curves) -> None:
        """Rungs from the points that have run to their end: a function of what was heard. They
        count at the new rungs as if they had stood still there."""
        self.look = math.ceil(1.5 * len(self.results[0]))  # if it comes to nothing
        found = RankFidelity(*curves.table())
        if not found.enough:
            return
        placed = plan_rungs(found, self.group, self.halving.cost)
        if not placed.trusted or len(placed.shares) == 1:
            return
        self.fidelity, self.rungs, self.ratios = found, placed.shares, placed.ratios
        below = len(self.rungs) - 1
        ended = sorted(self.ends[0].values(), key=lambda e: e.trial)
        better: Better = "higher" if curves.sign > 0 else "lower"
        lower = (self.inside.begin(self.space, better) for _ in range(below))
        self.inner = [*lower, *self.inner]
        self.asked = [*({one.key: 1 for one in ended} for _ in range(below)), *self.asked]
        self.ends = [*({} for _ in range(below)), *self.ends]
        self.results = [*([] for _ in range(below)), *self.results]
        for rung, share in enumerate(self.rungs[:-1]):
            for one in ended:
                gain = curves.at(one.key, share)
                score = None if math.isnan(gain) else curves.sign * gain
                event = asked(0, one.trial, self.named[one.key], share=share)
                self.inner[rung].hear(event)
                self.inner[rung].hear(told(0, one.trial, score))
                self._note(rung, Ended(-math.inf if score is None else gain, one.trial, one.key))

    def _foreseen(self, rung: int, one: Ended) -> float:
        """The last gain of a point at a rung, as the curves that were measured foresee it."""
        assert self.curves is not None and self.fidelity is not None
        k = int(np.abs(self.fidelity.shares - self.rungs[rung]).argmin())
        row = [self.curves.at(one.key, share) for share in self.fidelity.shares[:k]]
        return float(self.fidelity.foreseen(k, np.array([[*row, one.gain]]))[0])

    def rung(self, share: float) -> int:
        """The number of the rung at a share."""
        return min(range(len(self.rungs)), key=lambda k: abs(self.rungs[k] - share))

    def lean(self, leaning: Leaning) -> None:
        for inner in self.inner:
            inner.lean(leaning)

    # ------------------------------------------------------------------- asking

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        key = self.promoted(False)
        if key is None:
            try:
                return self._new(trial, attempt, costs)
            except Exhausted:  # no rung will grow any more
                if (key := self.promoted(True)) is None:
                    raise
        return self.named[key]

    @abstractmethod
    def promoted(self, closed: bool) -> str | None:
        """The canonical JSON of the point that goes on to its next rung, if one does.

        ``closed``: no new points are left, so that the best of a small rung goes on too.
        """

    def share(self, point: Point) -> float:
        key = canonical(point)
        reached = max((k for k, there in enumerate(self.asked) if key in there), default=-1)
        return self.rungs[min(reached + 1, len(self.rungs) - 1)]

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        return self._model().propose(draw, costs)

    def _model(self) -> Search:
        """The search of the highest rung with enough scores, else of the lowest."""
        for inner, results in zip(reversed(self.inner), reversed(self.results), strict=True):
            if sum(one.sound for one in results) >= self.halving.enough:
                return inner
        return self.inner[0]

    def _new(self, trial: int, attempt: int, costs: Costs | None) -> Point:
        """A point that has not run at any share. Raises Exhausted where none is left."""
        taken = self.refusals.union(*self.asked)
        tries, point = self.halving.tries, None
        for inner in dict.fromkeys((self._model(), self.inner[0])):
            for i in range(tries):
                try:
                    point = inner.ask(trial, attempt * tries + i, costs)
                except Exhausted:
                    break
                if canonical(point) not in taken:
                    return point
        draw = generator(self.halving.seed, trial, attempt, -1)
        return fresh(self.program, taken, point or self.program.sample(draw), draw)
