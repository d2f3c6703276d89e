"""What the searchers are compared on: real tables, and the conditional tree of ``_tree_space.py``.

A task gives the gain of a point (higher is better; None: the training failed) and knows the gain of
the best and of the worst point. A table also knows learning curves and seconds. Regret is the best
gain less the best found; where all failed, it is that of the worst.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from typing import Any, Protocol

import _digits_table as digits_table
import _tree_space as tree_space
import numpy as np
from scipy.special import gammaln

from vitruvius.space import Point, canonical, compile

INSTANCES = (7001, 7002, 7003)  # of the tree; 0-99 and 1000-1100 served other figures and design
SAMPLES = 100_000  # random points of an instance, from which random search's regret is computed
TABLES = {"digits": None, "phoneme": "_tabular_table", "characters": "_character_table"}
TABLE_SIZES, TREE_SIZES = (16, 64, 256), (64, 100, 256, 300, 1000)


class Task(Protocol):
    """One objective over one space."""

    space: Any
    sizes: tuple[int, ...]
    best: float
    worst: float

    def gain(self, point: Point) -> float | None: ...

    def expected(self, size: int) -> float:
        """The regret that random search has after so many evaluations, on the mean."""
        ...


@dataclass(frozen=True)
class TableTask:
    """Trained networks, looked up."""

    space: Any
    index: dict[str, int]
    gains: np.ndarray
    """[network, epoch], higher is better; NaN where the training failed."""
    seconds: np.ndarray
    """Of one epoch, [network]."""
    sizes: tuple[int, ...] = TABLE_SIZES

    def number(self, point: Point) -> int:
        """Of the network that a point stands for."""
        return self.index[canonical(point)]

    @property
    def epochs(self) -> int:
        return self.gains.shape[1]

    @cached_property
    def last(self) -> np.ndarray:
        return self.gains[:, -1]

    @cached_property
    def best(self) -> float:
        return float(np.nanmax(self.last))

    @cached_property
    def worst(self) -> float:
        return float(np.nanmin(self.last))

    def gain(self, point: Point) -> float | None:
        found = float(self.last[self.number(point)])
        return None if found != found else found

    def expected(self, size: int) -> float:
        return random_regret(self.best - np.nan_to_num(self.last, nan=self.worst), size)


class TreeTask:
    """An instance of the tree; its worst gain is that of the random points."""

    space, sizes = tree_space.SPACE, TREE_SIZES

    def __init__(self, instance: int) -> None:
        self.instance = tree_space.Instance(instance)
        self.seed, self.best, self.samples = instance, self.instance.best(), SAMPLES

    def gain(self, point: Point) -> float:
        return self.instance.score(point)

    @cached_property
    def sampled(self) -> np.ndarray:
        """Gains of random points."""
        draw, program = Random(self.seed), compile(self.space)
        return np.array([self.gain(program.sample(draw)) for _ in range(self.samples)])

    @property
    def worst(self) -> float:
        return -3.0  # no term of the score goes far below -1; failures do not occur

    def expected(self, size: int) -> float:
        return random_regret(self.best - self.sampled, size)


def random_regret(regrets: np.ndarray, size: int) -> float:
    """The mean of the smallest of ``size`` regrets drawn without replacement, in closed form.

    sum_k r_k C(N - k, n - 1) / C(N, n) over the regrets r_1 <= ... <= r_N: the k-th is the smallest
    drawn if the other n - 1 come from those behind it. Equal ones need no care, for their order is
    no matter. Of a sample it is the unbiased estimate (a U-statistic) of the mean over draws of n.
    """
    ordered = np.sort(regrets)
    count = len(ordered)
    if not 1 <= size <= count:
        raise ValueError(f"size must be between 1 and {count}, all there are; got {size}.")

    def log_choose(n: Any, k: int) -> Any:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    ranks = np.arange(1, count - size + 2)
    chances = np.exp(log_choose(count - ranks, size - 1) - log_choose(count, size))
    return float(chances @ ordered[: len(ranks)])


def known() -> tuple[str, ...]:
    """The names of the tasks that are there: tables are made by scripts of their own."""
    there = [
        name
        for name, module in TABLES.items()
        if module is None or (importlib.util.find_spec(module) and _path(module).exists())
    ]
    return (*there, "tree")


def _path(module: str) -> Any:
    return importlib.import_module(module).TABLE


def instance_of(seed: int) -> int:
    """The instance of the tree for a seed: the same for 0, 20, 40 and so on, so that runs of a
    searcher with more seeds go with one of each other."""
    return INSTANCES[seed % 20 % len(INSTANCES)]


def task_of(name: str, seed: int) -> Any:
    """A task by its name, for a seed."""
    return tree(instance_of(seed)) if name == "tree" else table(name)


@cache
def tree(instance: int) -> TreeTask:
    return TreeTask(instance)


@cache
def table(name: str) -> TableTask:
    module = TABLES[name]
    if module is None:
        return digits()
    held = importlib.import_module(module).load()
    sign = 1.0 if held.better == "higher" else -1.0
    gains = np.where(np.isfinite(held.validation), sign * held.validation, np.nan)
    return TableTask(held.space, dict(held.index), gains, np.asarray(held.seconds, float))


@cache
def digits() -> TableTask:
    held = digits_table.load()
    points = [dict(zip(digits_table.NAMES, labels, strict=True)) for labels in held.index]
    right = held.validation.reshape(len(points), -1)
    gains = np.where(right == digits_table.FAILED, np.nan, right / held.of_validation)
    index = {canonical(point): i for i, point in enumerate(points)}
    seconds = np.asarray(held.seconds, float).reshape(-1) / gains.shape[1]
    return TableTask(digits_table.SPACE, index, gains, seconds)
