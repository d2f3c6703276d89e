"""Regularised evolution.

Source: Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search",
arXiv:1802.01548, algorithm 1; as a searcher of trees in Negrinho et al. 2019, arXiv:1909.13404.
Differs from the source: a genome is a point keyed by address, so that parents and children may
differ in length: what a mutation takes away is dropped, what it brings is drawn, the rest is kept.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any

from vitruvius.search.history import Better
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.space import (
    Decision,
    Infeasible,
    Point,
    carry,
    decisions_of,
    hyper,
    integers,
    uniform,
)

MUTATIONS = 64  # infeasible in a row, before a random point is taken


@dataclass(frozen=True)
class RegularizedEvolution(Searcher):
    """Mutate the best of a random few of the last trials.

    The population is the last ``population`` trials that ended; as long as fewer were asked, points
    are random. A mutation changes one decision of the parent: to one of the other values, each as
    likely, or, where values have an order and with probability ``step``, to one next to it.
    """

    population: int = hyper(16, integers(10, 100, log=True), "trials that may be parents")
    sample: int = hyper(12, integers(2, 25, log=True), "of these, how many compete to be one")
    step: float = hyper(0.5, uniform(0.0, 1.0), "how often a mutation of an order is a small one")

    def check(self) -> None:
        if self.population < 1 or self.sample < 1:
            raise ValueError(
                "RegularizedEvolution.population and .sample must be at least 1; "
                f"got {self.population} and {self.sample}."
            )
        if not 0 <= self.step <= 1:
            raise ValueError(f"RegularizedEvolution.step must be in [0, 1]; got {self.step}.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Evolution(self, space, better)


class _Evolution(Search):
    def __init__(self, searcher: RegularizedEvolution, space: Any, better: Better) -> None:
        super().__init__(searcher, space, better)
        self.evolution = searcher
        self.population: deque[tuple[float, Point]] = deque(maxlen=searcher.population)
        self.alive = 0  # trials that ended or run

    def started(self, trial: int, point: Point) -> None:
        self.alive += 1

    def dropped(self, trial: int, point: Point) -> None:
        self.alive -= 1

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        self.population.append((float("-inf") if gain is None else gain, point))

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        if self.alive < self.evolution.population or not self.population:
            return self.program.sample(draw)
        rivals = draw.sample(self.population, min(self.evolution.sample, len(self.population)))
        parent = max(rivals, key=lambda rival: rival[0])[1]
        for _ in range(MUTATIONS):
            try:
                return self._mutate(parent, draw)
            except Infeasible:
                continue
        return self.program.sample(draw)

    def _mutate(self, parent: Point, draw: Random) -> Point:
        fresh = lambda decision: decision.domain.sample(draw)  # noqa: E731
        parent = carry(self.space, parent, fresh)  # the space may have been edited since
        decisions = decisions_of(self.space, parent)
        if not decisions:
            return parent
        chosen = draw.choice(decisions)
        changed = {**parent, chosen.address: self._other(chosen, parent[chosen.address], draw)}
        return carry(self.space, changed, fresh)

    def _other(self, decision: Decision, label: Any, draw: Random) -> Any:
        domain = decision.domain
        if decision.kind != "categorical" and draw.random() < self.evolution.step:
            near = domain.neighbours(label)
            if near and decision.kind == "real":
                shifted = domain.position(label) + draw.gauss(0.0, 0.1)
                return domain.at(min(max(shifted, 0.0), 1.0))
            if near:
                return draw.choice(near)
        for _ in range(64):
            other = domain.sample(draw)
            if (type(other), other) != (type(label), label):  # 1 and True are two labels
                return other
        return label
