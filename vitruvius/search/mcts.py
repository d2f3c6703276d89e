"""Monte Carlo tree search over the decisions of a space.

Source: Negrinho and Gordon 2017, "DeepArchitect: Automatically Designing and Training Deep
Architectures", arXiv:1704.08792, section 5.3 and its bisection; UCT after Kocsis and Szepesvari
2006, "Bandit Based Monte-Carlo Planning".
Differs from the paper: rewards are brought to [0, 1] when they are read; a new child takes its
first visit at once; running trials count as visits without reward (virtual loss); real domains are
bisected on their quantiles; what failed or is infeasible counts as the worst.
"""

from __future__ import annotations

import contextlib
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from vitruvius.search.cells import cell_of, cells, draw_within, parts
from vitruvius.search.history import Better
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.space import Decision, Infeasible, Point, hyper, integers, log_uniform, one_of

INFEASIBLE_IN_A_ROW = 1000
Step = tuple[str, int, int]  # address of a decision, and the range of its cells that is left


@dataclass(frozen=True)
class MCTS(Searcher):
    """Go down the tree of decisions to where mean reward + bonus is highest, then at random.

    A child scores ``mean + exploration * sqrt(2 ln(visits of the parent) / visits)``; one without
    visits comes first, ties are broken at random. With ``bisect``, a decision with an order becomes
    a chain of halvings, so that neighbouring values share their statistics.
    """

    exploration: float = hyper(0.2, log_uniform(0.02, 2.0), "weight of the bonus, in rewards")
    bisect: bool = hyper(True, one_of(False, True), "halve domains that have an order")
    depth: int = hyper(5, integers(2, 8), "halvings of a real domain; below, it is drawn at random")
    rewards: str = hyper("rank", one_of("rank", "range"), "how scores are brought to [0, 1]")

    def check(self) -> None:
        if not self.exploration >= 0:
            raise ValueError(f"MCTS.exploration must not be negative; got {self.exploration}.")
        if not 1 <= self.depth <= 30:
            raise ValueError(f"MCTS.depth must be from 1 to 30 halvings; got {self.depth}.")
        if self.rewards not in ("rank", "range"):
            raise ValueError(f"MCTS.rewards is 'rank' or 'range'; got {self.rewards!r}.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _TreeSearch(self, space, better)


class Place:
    """A place of the search tree. ``visits`` counts all trials that came through; ``total`` sums
    the gains of those that ended well, ``gains`` says which they are."""

    __slots__ = ("children", "gains", "total", "visits")

    def __init__(self) -> None:
        self.children: dict[Step, Place] = {}
        self.gains = array("q")
        self.total = 0.0
        self.visits = 0


class _Left(Exception):
    """A walk left the tree, or the space."""


class _TreeSearch(Search):
    def __init__(self, searcher: MCTS, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.mcts = searcher
        self.root = Place()
        self.paths: dict[int, list[tuple[Step, Place]]] = {}
        self.gains = array("d")
        self.lowest, self.highest = math.inf, -math.inf
        self._ranks = np.zeros(0)

    # ------------------------------------------------------------------ hearing

    def started(self, trial: int, point: Point) -> None:
        self.paths[trial] = self._visit(point)

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        path = self.paths.pop(trial)
        if gain is None:
            return
        for place in self._places(path):
            place.total += gain
            place.gains.append(len(self.gains))
        self.gains.append(gain)
        self.lowest, self.highest = min(self.lowest, gain), max(self.highest, gain)

    def dropped(self, trial: int, point: Point) -> None:
        self._leave_path(self.paths.pop(trial))

    def refused(self, point: Point) -> None:
        self._visit(point)

    def _places(self, path: list[tuple[Step, Place]]) -> Iterator[Place]:
        yield self.root
        yield from (place for _, place in path)

    def _visit(self, point: Point) -> list[tuple[Step, Place]]:
        """Count a visit along a point, down to the first place that is new."""
        path: list[tuple[Step, Place]] = []
        place = self.root
        missing = object()

        def follow(decision: Decision) -> Any:
            nonlocal place
            label = point.get(decision.address, missing)
            if label is missing or not decision.domain.contains(label):
                raise _Left
            size, halved = self._cells(decision)
            cell = cell_of(decision.domain, label, size)
            low, high = 0, size
            while high - low > 1:
                low, high = next(
                    part for part in parts(decision.domain, low, high, halved, cell)
                    if part[0] <= cell < part[1]
                )  # fmt: skip
                step = (decision.address, low, high)
                known = place.children.get(step)
                if known is None:
                    known = place.children[step] = Place()
                    path.append((step, known))
                    raise _Left
                path.append((step, known))
                place = known
            return label

        with contextlib.suppress(_Left, Infeasible):
            self.program.walk(follow)
        for visited in self._places(path):
            visited.visits += 1
        return path

    def _leave_path(self, path: list[tuple[Step, Place]]) -> None:
        parent = self.root
        parent.visits -= 1
        for step, place in path:
            place.visits -= 1
            if not place.visits:
                del parent.children[step]
                return
            parent = place

    # ------------------------------------------------------------------- asking

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        tried: list[list[tuple[Step, Place]]] = []
        last: Infeasible | None = None
        try:
            for _ in range(INFEASIBLE_IN_A_ROW):
                point: Point = {}
                try:
                    return self._descend(draw, point)
                except Infeasible as error:
                    last = error
                    tried.append(self._visit(point))  # worth nothing, for as long as this ask lasts
        finally:
            for path in reversed(tried):
                self._leave_path(path)
        raise ValueError(
            f"{INFEASIBLE_IN_A_ROW} points in a row were infeasible; the last because of {last}. "
            "Loosen the condition, or restrict the space to where it holds."
        )

    def _descend(self, draw: Random, point: Point) -> Point:
        place: Place | None = self.root

        def choose(decision: Decision) -> Any:
            nonlocal place
            size, halved = self._cells(decision)
            low, high = 0, size
            while place is not None and high - low > 1:
                low, high = self._pick(place, decision, low, high, halved, draw)
                place = place.children.get((decision.address, low, high))
            label = draw_within(decision.domain, low, high, size, draw)
            point[decision.address] = label
            return label

        return self.program.walk(choose)

    def _pick(
        self, place: Place, decision: Decision, low: int, high: int, halved: bool, draw: Random
    ) -> tuple[int, int]:
        """The part of a range of cells to go on with."""
        address, children = decision.address, place.children
        if not halved and high - low > 2 * len(children):  # most are untried: draw until one is
            while True:
                cell = draw.randrange(low, high)
                if (address, cell, cell + 1) not in children:
                    return cell, cell + 1
        options = list(parts(decision.domain, low, high, halved))
        untried = [part for part in options if (address, *part) not in children]
        if untried:
            return draw.choice(untried)
        spread = 2 * math.log(place.visits)
        values = []
        for part in options:
            child = children[(address, *part)]
            bonus = self.mcts.exploration * math.sqrt(spread / child.visits)
            values.append(self._reward(child) + bonus)
        best = max(values)
        ties = [part for part, value in zip(options, values, strict=True) if value == best]
        return ties[0] if len(ties) == 1 else draw.choice(ties)

    def _reward(self, place: Place) -> float:
        """Mean reward in [0, 1] of all that came through; what has no gain counts as 0."""
        if not place.gains:
            return 0.0
        if self.mcts.rewards == "range":
            low, high = self.lowest, self.highest
            scored = len(place.gains)
            inside = (place.total - scored * low) / (high - low) if high > low else scored
            return inside / place.visits
        ranks = self._all_ranks()
        if len(place.gains) < 16:
            return sum(map(ranks.__getitem__, place.gains)) / place.visits
        return float(ranks[np.frombuffer(place.gains, np.int64)].sum()) / place.visits

    def _all_ranks(self) -> np.ndarray:
        """For each gain the share of gains that it is not worse than, ties in the middle."""
        if len(self._ranks) < len(self.gains):
            gains = np.array(self.gains)
            in_order = np.sort(gains)
            below = np.searchsorted(in_order, gains, "left")
            up_to = np.searchsorted(in_order, gains, "right")
            self._ranks = (below + up_to) / (2 * len(gains))
        return self._ranks

    def _cells(self, decision: Decision) -> tuple[int, bool]:
        size = cells(decision.domain, self.mcts.depth)
        return size, self.mcts.bisect and decision.kind != "categorical"
