"""Weights on the labels of decisions, as densities over a space: to draw from, and to lean on.

A density is relative to how the space itself draws, decision by decision, so that its mean over
random labels is 1. A decision of which nothing is believed has density 1 everywhere, and a design
with more decisions is by that alone no less probable.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np

from vitruvius.space import Decision, Domain, Infeasible, Point, Program
from vitruvius.space.columns import Columns, cell, grid
from vitruvius.space.domains import Choice

QUANTILES = 512  # equal parts of a domain of numbers, each with one weight
LEAST = 1e-3  # of the largest weight: what every label keeps, so that none is out of reach
DRAWS = 64  # of a whole point, before one is taken from the space as it is
TYPICAL = 64  # random points over which the spread of densities is told

Weigh = Callable[[str, Domain], Callable[[Any], float] | None]
"""Of an address and its domain: the weight of a label on any scale, or None: nothing believed."""


class Density:
    """Of one decision: how much more often than the domain draws it each label is expected."""

    def __init__(self, domain: Domain, weight: Callable[[Any], float]) -> None:
        self.domain = domain
        self.parts = domain.size if isinstance(domain, Choice) else QUANTILES
        labels = [domain.at((i + 0.5) / self.parts) for i in range(self.parts)]
        known: dict[Any, float] = {}
        raw = np.array([known.setdefault(label, weight(label)) for label in labels])
        raw = np.maximum(raw / raw.max(), LEAST)
        self.logs = np.log(raw / raw.mean())
        self.sums = list(itertools.accumulate(raw))
        where = np.array([cell(domain, label) for label in labels])
        totals, counts = np.zeros(grid(domain)), np.bincount(where, minlength=grid(domain))
        np.add.at(totals, where, raw / raw.mean())
        self.cells = np.log(np.where(counts > 0, totals / np.maximum(counts, 1), 1.0))

    def draw(self, rng: Random) -> Any:
        """A label from the density."""
        part = bisect.bisect_right(self.sums, rng.random() * self.sums[-1])
        return self.domain.at((min(part, self.parts - 1) + rng.random()) / self.parts)

    def log(self, label: Any) -> float:
        """The logarithm of the density at a label."""
        return float(self.logs[min(int(self.domain.position(label) * self.parts), self.parts - 1)])


class Leaning:
    """What is believed of the points of a space, and how much that counts now."""

    def __init__(self, program: Program, weigh: Weigh) -> None:
        self.program, self.weigh = program, weigh
        self.power = 0.0
        """Exponent of the density in an acquisition that is multiplied by it, over ``spread``."""
        self._densities: dict[str, Density | None] = {}

    def density(self, address: str, domain: Domain) -> Density | None:
        """Of one decision; None where nothing is believed of it."""
        if address not in self._densities:
            weight = self.weigh(address, domain)
            self._densities[address] = None if weight is None else Density(domain, weight)
        return self._densities[address]

    @functools.cached_property
    def spread(self) -> float:
        """Standard deviation of the logarithm of the density over random points; at least 1."""
        rng = Random(0)
        found = [self.log(self.program.sample(rng)) for _ in range(TYPICAL)]
        return max(1.0, float(np.std(found)))

    def draw(self, rng: Random) -> Point:
        """A point from the density that meets the conditions of the space."""

        def choose(decision: Decision) -> Any:
            found = self.density(decision.address, decision.domain)
            return decision.domain.sample(rng) if found is None else found.draw(rng)

        for _ in range(DRAWS):
            try:
                return self.program.walk(choose)
            except Infeasible:
                continue
        return self.program.sample(rng)

    def log(self, point: Mapping[str, Any]) -> float:
        """The logarithm of a point's density: the sum over its decisions."""
        total = 0.0

        def add(decision: Decision) -> Any:
            nonlocal total
            label = point[decision.address]
            found = self.density(decision.address, decision.domain)
            total += 0.0 if found is None else found.log(label)
            return label

        self.program.walk(add)
        return total

    def logs(self, columns: Columns, quantiles: np.ndarray) -> np.ndarray:
        """The same of many points at once, rows of quantiles without gaps, float [points]."""
        cells = columns.cells(quantiles)
        active, found = columns.active(cells), np.zeros(len(cells))
        for column, address in enumerate(columns.index):
            density = self.density(address, columns.domains[column])
            if density is not None:
                found += np.where(active[:, column], density.cells[cells[:, column]], 0.0)
        return found
