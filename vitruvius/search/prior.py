"""A search that begins where its user expects the best designs.

Source: Hvarfner, Stoll, Souza, Lindauer, Hutter and Nardi 2022, "PiBO: Augmenting Acquisition
Functions with User Beliefs for Bayesian Optimization", arXiv:2204.11051, section 4: the acquisition
is multiplied by the prior to the power of beta / n after n trials.
Differs from the paper: the prior is over trees of decisions of any kind, relative to how the space
draws, and every label keeps a thousandth of the largest weight. Its logarithm is divided by its
standard deviation over random points where that is above 1: else beliefs on many decisions
together would outweigh all evidence for hundreds of trials. It also names points itself, with a
probability that decays as (beta / (beta + n)) ** 2, so that searchers without an acquisition
profit, and a wrong prior costs about beta trials, however long the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vitruvius.search.beliefs import Belief, weighing
from vitruvius.search.history import Better, generator
from vitruvius.search.leaning import Leaning
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.search.wrapping import Wrapping
from vitruvius.space import Point, canonical, hyper, log_uniform

SALT = -2  # of the draws of this wrapper
TRIES = 8  # points from the prior that may be refused already


@dataclass(frozen=True)
class Prior(Searcher):
    """Ask another searcher, which leans on what the user believes; less with every trial.

    After n trials that ended, the prior itself names the point with probability
    (strength / (strength + n)) ** 2. Else the searcher inside is asked; one that has an acquisition
    (``SMBO``) multiplies it by the prior to the power of strength / n, tempered. The seed is that
    of the searcher inside.
    """

    searcher: Searcher = hyper(RandomSearch(), None, "the searcher that is asked")
    beliefs: tuple[Belief, ...] = hyper((), None, "of decisions by address: beliefs({...})")
    strength: float = hyper(10.0, log_uniform(1.0, 100.0), "trials that weigh as much as they do")

    def check(self) -> None:
        if not 0 < self.strength < math.inf:
            raise ValueError(
                f"Prior.strength must be a number of trials above 0; got {self.strength}. "
                "For a search without a prior, leave Prior out."
            )
        for belief in self.beliefs:
            if not isinstance(belief, Belief):
                raise ValueError(
                    "Prior.beliefs holds beliefs: beliefs({'learning_rate': near(1e-3)}); "
                    f"got {belief!r:.60}."
                )

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Prior(self, space, better, self.searcher.begin(space, better))


class _Prior(Wrapping):
    def __init__(self, searcher: Prior, space: Any, better: Better, inner: Search) -> None:
        super().__init__(searcher, space, better, inner)
        self.strength, self.ends = searcher.strength, 0
        self.believed = Leaning(self.program, weighing(self.program, searcher.beliefs))
        self.chance = 1.0 if searcher.beliefs else 0.0
        if searcher.beliefs:
            self.believed.power = self.strength
            inner.lean(self.believed)

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        self.ends += 1
        if self.chance:
            self.believed.power = self.strength / self.ends
            self.chance = (self.strength / (self.strength + self.ends)) ** 2

    def ask(self, trial: int, attempt: int = 0, costs: Costs | None = None) -> Point:
        draw = generator(self.seed, trial, attempt, SALT)
        if draw.random() < self.chance:
            for _ in range(TRIES):
                point = self.believed.draw(draw)
                if canonical(point) not in self.refusals:
                    return point
        return self.inner.ask(trial, attempt, costs)
