"""One decision at a time, a step at a time: for people without a machine to leave running.

Source: Mutasodirin, Prasojo, Abka and Rasyidi 2022, "Simple hack for transformers against heavy
long-text classification on a time- and memory-limited GPU service", arXiv:2403.12563 (gradual
search; the paper tells its idea, the rules here are ours).
Differs from the paper: the next run is a function of the runs so far alone; decisions may have no
order, or bring further decisions; after the last step a perturbed best is tried (Lourenço, Martin
and Stützle 2003, "Iterated local search").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from vitruvius.search.history import Better
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.taken import Taken
from vitruvius.space import (
    Decision,
    Infeasible,
    Point,
    canonical,
    carry,
    decisions_of,
    hyper,
    integers,
)

STEP = 0.1  # along a real decision, of its whole length; halved with each pass that gains nothing
WALKS = (1, 2, 3)  # steps of a decision that is perturbed, each number as likely
TRIES = 64


@dataclass(frozen=True)
class Gradual(Searcher):
    """Move the best point along one decision while that helps, then along the next.

    It starts in the middle of every order and with the first of other options, or where
    ``Starting`` says. Along an order both neighbours are tried and the better direction followed
    until the next one is worse; of options without an order all are tried. Then comes the next
    decision: those whose address ends in one of ``first``, in that order, then as they stand in the
    space. After the last one it begins anew, since decisions act together; steps along real
    decisions are halved where a pass gained nothing. After ``passes`` of these it moves
    ``perturbed`` decisions of the best point by up to three steps, and improves what is better.

    It needs no more than the list of runs, and takes some two to four runs for each decision.
    """

    first: tuple[str, ...] = hyper(
        ("learning_rate", "batch_size"), None, "ends of addresses that come first, in this order"
    )
    passes: int = hyper(4, integers(1, 8), "without gain, before the best point is perturbed")
    perturbed: int = hyper(2, integers(1, 5), "decisions that change then")

    def check(self) -> None:
        if not all(isinstance(end, str) and end for end in self.first):
            raise ValueError(f"Gradual.first holds ends of addresses; got {self.first!r:.60}.")
        for name in ("passes", "perturbed"):
            if getattr(self, name) < 1:
                raise ValueError(f"Gradual.{name} must be at least 1; got {getattr(self, name)}.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Gradual(self, space, better)


class _Gradual(Search):
    def __init__(self, searcher: Gradual, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.gradual = searcher
        self.asked = Taken()  # trials of each point that were not lost
        self.best: tuple[float, Point] | None = None
        self.address: str | None = None  # of the decision in which the best differs from the last

    # ------------------------------------------------------------------ hearing

    def started(self, trial: int, point: Point) -> None:
        self.asked.add(point)

    def dropped(self, trial: int, point: Point) -> None:
        self.asked.drop(point)

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        if gain is None or (self.best is not None and gain <= self.best[0]):
            return
        if self.best is not None:
            before = self.best[1]
            moved = [a for a, label in point.items() if a in before and before[a] != label]
            self.address = moved[0] if moved else None
        self.best = gain, point

    # ------------------------------------------------------------------- asking

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        if self.best is None:
            return self._start(draw)
        best = carry(self.space, self.best[1], _middle)  # the space may have been edited since
        for finer in range(self.gradual.passes):
            for decision in self._order(best):
                for label in _steps(decision, best[decision.address], finer):
                    point = self._with(best, {decision.address: label})
                    if point is not None and self._new(point):
                        return point
        return self._perturbed(best, draw)

    def _start(self, draw: Random) -> Point:
        try:
            point = carry(self.space, {}, _middle)
        except Infeasible:
            return self.program.sample(draw)
        return point if self._new(point) else self.program.sample(draw)

    def _order(self, best: Point) -> Iterator[Decision]:
        """All decisions, beginning with that which was moved last."""
        decisions = list(decisions_of(self.space, best))
        rank = {end: number for number, end in enumerate(self.gradual.first)}

        def place(decision: Decision) -> int:
            ends = [n for end, n in rank.items() if decision.address.endswith(end)]
            return min(ends, default=len(rank))

        decisions.sort(key=place)
        start = next((i for i, d in enumerate(decisions) if d.address == self.address), 0)
        yield from decisions[start:]
        yield from decisions[:start]

    def _with(self, point: Point, labels: Mapping[str, Any]) -> Point | None:
        try:
            return carry(self.space, {**point, **labels}, _middle)
        except Infeasible:
            return None

    def _new(self, point: Point) -> bool:
        key = canonical(point)
        return key not in self.asked and key not in self.refusals

    def _perturbed(self, best: Point, draw: Random) -> Point:
        decisions = list(decisions_of(self.space, best))
        for _ in range(TRIES):
            some = draw.sample(decisions, min(self.gradual.perturbed, len(decisions)))
            labels = {d.address: _walked(d, best[d.address], draw) for d in some}
            point = self._with(best, labels)
            if point is not None and self._new(point):
                return point
        return self.program.sample(draw)


def _middle(decision: Decision) -> Any:
    """The middle of an order; of other options the first."""
    return decision.domain.at(0.0 if decision.kind == "categorical" else 0.5)


def _steps(decision: Decision, label: Any, finer: int) -> Iterator[Any]:
    """Labels to try from this one: both neighbours, or all other options."""
    if decision.kind != "real":
        yield from decision.domain.neighbours(label)
        return
    position = decision.domain.position(label)
    for way in (-1, 1):
        there = position + way * STEP / 2**finer
        if 0.0 <= there <= 1.0:
            yield decision.domain.at(there)


def _walked(decision: Decision, label: Any, draw: Random) -> Any:
    """A few steps from a label, in any direction."""
    for _ in range(draw.choice(WALKS)):
        options = list(_steps(decision, label, 0))
        if options:
            label = draw.choice(options)
    return label
