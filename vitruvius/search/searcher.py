"""A searcher asks for points and hears what became of them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from vitruvius.search.costs import Costs
from vitruvius.search.fresh import Exhausted, fresh
from vitruvius.search.history import Better, Event, generator, outcome, standings
from vitruvius.search.leaning import Leaning
from vitruvius.space import Infeasible, Node, Point, canonical, carry, compile

__all__ = ["Costs", "Exhausted", "Search", "Searcher", "ask"]

TRIES = 16  # proposals in a row that may be known as infeasible before a fresh point is looked for


@dataclass(frozen=True)
class Searcher(Node, ABC):
    """A way to search. It is a node like any other: ``begin`` gives the search that it stands for.

    The state of a search is a fold over the events it heard, and the randomness of an ask is a
    function of the seed, the number of the trial and the attempt. So the same history leads to the
    same point, in whatever process.
    """

    seed: int = dataclasses.field(
        default=0, kw_only=True, metadata={"domain": None, "doc": "where its randomness starts"}
    )

    @abstractmethod
    def begin(self, space: Any, better: Better = "higher") -> Search:
        """A search of the space that has heard nothing yet."""


class Search(ABC):
    """A search under way. ``hear`` every event in order; ``ask`` changes nothing.

    Inside, a *gain* is a score of which higher is better. Scores stay raw; what needs them on one
    scale brings them there when it reads them.
    """

    stage: str | None = None
    """Class of the stage that is cut to a share; None: the last one that has rungs."""
    remembers: bool = False
    """Whether it learns from trials of earlier studies: whether ``recall`` does anything."""
    leaning: Leaning | None = None
    """What a user believes of points, for a search that can weigh its candidates by that."""

    def __init__(self, searcher: Searcher, space: Any, better: Better) -> None:
        if better not in ("higher", "lower"):
            raise ValueError(f"better is 'higher' or 'lower'; got {better!r}.")
        self.searcher, self.space, self.better = searcher, space, better
        self.program = compile(space)
        self.points: dict[int, Point] = {}
        self.states: dict[int, str] = {}  # running, lost or ended
        self.shares: dict[int, float] = {}  # of the horizon, at which each trial was asked
        self.refusals: set[str] = set()

    def hear(self, event: Event) -> None:
        """Take in what happened."""
        kind, trial = event.kind, event.trial
        if kind == "asked":
            self._leave(trial)
            self.shares[trial] = event.body.get("share", 1.0)
            self._enter(trial, dict(event.body["point"]))
        elif kind == "rejected":
            self._leave(trial)
            self.points.pop(trial, None)
            self.states.pop(trial, None)
            point = dict(event.body["point"])
            self.refusals.add(canonical(point))
            self.refused(point)
        elif kind == "lost":
            self._leave(trial)
        elif kind in ("told", "stopped"):
            if trial not in self.points:
                raise ValueError(
                    f"Event {event.sequence} ends trial {trial}, which was never asked. "
                    "Hear all events of a study, in their order."
                )
            gain = outcome(event)
            if self.states[trial] == "ended":
                return
            if kind == "stopped" and gain is None:  # nothing was learnt of the point
                self._leave(trial)
                return
            if self.states[trial] == "lost":  # its worker was alive after all
                self._enter(trial, self.points[trial])
            self.states[trial] = "ended"
            if gain is not None and self.better == "lower":
                gain = -gain
            self.ended(trial, self.points[trial], gain)
        elif kind == "earlier" and self.remembers and event.body.get("weight"):
            self._recall(event)

    def lean(self, leaning: Leaning) -> None:
        """Lean on what a user believes, if there is an acquisition to multiply by it."""
        self.leaning = leaning

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        """The next point. Raises Exhausted where none is left.

        What was rejected is not asked again. Points come back that meet all conditions of the
        space; whether a node's check or a shape forbids them shows when they are built.
        """
        point: Point = {}
        for repeat in range(TRIES):
            point = self.propose(generator(self.searcher.seed, trial, attempt, repeat), costs)
            if not self.refusals or canonical(point) not in self.refusals:
                return point
        draw = generator(self.searcher.seed, trial, attempt, TRIES)
        return fresh(self.program, self.refusals, point, draw)

    def share(self, point: Point) -> float:
        """The share of the horizon at which a point would run if it were asked now; 1: all of it.

        A function of the point and of what was heard: where a point has run before, what comes next
        is a promotion.
        """
        return 1.0

    @abstractmethod
    def propose(self, draw: Random, costs: Costs | None) -> Point:
        """A point, with no regard to what was rejected. Must not change the search."""

    def started(self, trial: int, point: Point) -> None:  # noqa: B027
        """A trial runs."""

    def ended(self, trial: int, point: Point, gain: float | None) -> None:  # noqa: B027
        """A running trial ended with a gain, or failed."""

    def dropped(self, trial: int, point: Point) -> None:  # noqa: B027
        """A running trial was lost: as if it had not started."""

    def refused(self, point: Point) -> None:  # noqa: B027
        """A point is infeasible."""

    def recall(  # noqa: B027
        self, points: Sequence[Point], stood: Sequence[float], weight: float
    ) -> None:
        """Points of an earlier study, and how they stood there: normal scores, higher is better.
        Each weighs as much as this share of a trial."""

    def _recall(self, event: Event) -> None:
        """Take in the trials of an earlier study: what they do not decide of this space is drawn,
        and what makes no design of it is passed over."""
        points, stood = [], []
        for trial, standing in zip(event.body["trials"], standings(event.body), strict=True):
            draw = generator(self.searcher.seed, trial["trial"], event.sequence)
            choose = lambda decision, draw=draw: decision.domain.sample(draw)  # noqa: E731
            try:
                points.append(carry(self.space, trial["point"], choose))
            except Infeasible:
                continue
            stood.append(standing)
        if points:
            self.recall(points, stood, event.body["weight"])

    def _enter(self, trial: int, point: Point) -> None:
        self.points[trial], self.states[trial] = point, "running"
        self.started(trial, point)

    def _leave(self, trial: int) -> None:
        if self.states.get(trial) == "running":
            self.states[trial] = "lost"
            self.dropped(trial, self.points[trial])


def ask(
    searcher: Searcher,
    space: Any,
    history: Sequence[Event],
    trial: int,
    attempt: int = 0,
    better: Better = "higher",
    costs: Costs | None = None,
) -> Point:
    """The next point after a history, from scratch."""
    search = searcher.begin(space, better)
    for event in history:
        search.hear(event)
    return search.ask(trial, attempt, costs)
