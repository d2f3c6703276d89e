"""A study inside a stage or a protocol: in this process, without a folder and a journal.

What it runs goes through the lab around it, so that it is keyed, stored and metered like the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from vitruvius.contracts import (
    Better,
    Cost,
    Evaluator,
    Found,
    Lab,
    Report,
    SealedError,
    Split,
    State,
    Stopped,
    Tried,
)
from vitruvius.pipeline.evaluation import score_of
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.store import Store
from vitruvius.search import Event, Exhausted, RandomSearch, Search, Searcher, asked, told
from vitruvius.space import Infeasible, Node, Point, replay
from vitruvius.study.settings import Surroundings
from vitruvius.study.worker import cause, setting_of

REFUSED = 1000  # infeasible points in a row that end the search


def search_inside(
    lab: Lab,
    space: Node,
    inputs: Sequence[Mapping[str, State]],
    searcher: Node | None,
    trials: int,
) -> Found:
    """The best of so many designs of a space, each run on all inputs; its score is their mean.

    Infeasible points are asked again and do not count; what raises anything else is a failed trial.
    Every design is run whole, also for searchers that would begin with a share. Fewer designs are
    tried where the searcher has none left. Raises ValueError where no design could be run.
    """
    if not inputs or trials < 1:
        raise ValueError(
            "A study inside a stage needs at least one input and one trial; "
            f"got {len(inputs)} and {trials}."
        )
    asking = RandomSearch() if searcher is None else searcher
    if not isinstance(asking, Searcher):
        raise ValueError(
            f"A study is led by a Searcher; got {type(asking).__name__}. "
            "Take one of vitruvius.search, or None for random draws."
        )
    course = _Course(lab, space, inputs, asking.begin(space))
    for trial in range(trials):
        try:
            course.run(trial)
        except Exhausted:
            break
    if course.best is None or course.better is None:
        first = course.tried[0].cause if course.tried else "there is none"
        raise ValueError(f"None of {len(course.tried)} designs could be run; the first: {first}.")
    point, states = course.best
    return Found(replay(space, point), point, states, course.better, tuple(course.tried))


def evaluate(
    evaluator: Evaluator,
    subject: Node,
    data: Mapping[str, Split],
    *,
    seed: int = 0,
    around: Surroundings | None = None,
    store: Store | None = None,
) -> Report:
    """What a protocol finds of a subject, in this process. ``seed`` is that of the trainings."""
    around = around or Surroundings()
    setting = setting_of(seed, around.device, around.threads, around.precision)
    lab = LocalLab(setting, store=store, inner=search_inside)
    return evaluator.evaluate(subject, data, lab)


class _Course:
    """What has been tried so far, and the best of it."""

    def __init__(
        self, lab: Lab, space: Node, inputs: Sequence[Mapping[str, State]], search: Search
    ) -> None:
        self.lab, self.space, self.inputs, self.search = lab, space, inputs, search
        self.tried: list[Tried] = []
        self.best: tuple[Point, tuple[State, ...]] | None = None
        self.better: Better | None = None
        self.top = -math.inf
        self.sequence = 0

    def run(self, trial: int) -> None:
        """Ask for a point until one is feasible, and run it."""
        last = ""
        for attempt in range(REFUSED):
            point = self.search.ask(trial, attempt)
            self._hear(asked(self.sequence, trial, point, attempt))
            try:
                self._try(trial, point)
                return
            except Infeasible as error:
                why = {"address": error.address, "reason": error.reason}
                body = {"point": point, "attempt": attempt, **why}
                self._hear(Event(self.sequence, "rejected", trial, body))
                last = f"{error.address}: {error.reason}"
        raise ValueError(f"{REFUSED} designs in a row were infeasible; the last: {last}.")

    def _try(self, trial: int, point: Point) -> None:
        began = time.perf_counter()
        try:
            design = replay(self.space, point)
            states = tuple(self.lab.run(design, one) for one in self.inputs)
            scores = tuple(self._score(state) for state in states)
        except (Infeasible, Stopped, SealedError):
            raise
        except Exception as error:
            self.tried.append(Tried(point, (), cause=cause(error)))
            self._hear(told(self.sequence, trial, None))
            return
        made = Tried(point, scores, _cost(states, self.inputs, time.perf_counter() - began))
        gain = made.score if self.better == "higher" else -made.score
        self.tried.append(made)
        self._hear(told(self.sequence, trial, gain))
        if gain > self.top:
            self.top, self.best = gain, (point, states)

    def _score(self, state: State) -> float:
        found = score_of(state)
        if not math.isfinite(found.value):
            raise ValueError(f"the score ({found.name}) is {found.value}")
        if self.better is None:
            self.better = found.better
        return found.value

    def _hear(self, event: Event) -> None:
        self.search.hear(event)
        self.sequence += 1


def _cost(states: Sequence[State], inputs: Sequence[Mapping[str, State]], seconds: float) -> Cost:
    """Of all runs of a design together, without what its inputs had cost."""
    known = {id(m) for one in inputs for state in one.values() for m in state.measurements}
    costs = [m.cost for state in states for m in state.measurements if id(m) not in known]
    return Cost(
        flops=sum(cost.flops for cost in costs),
        seconds=seconds,
        parameters=max((cost.parameters for cost in costs), default=0),
        memory_bytes=max((cost.memory_bytes for cost in costs), default=0),
    )
