"""Distinct and Exhaustive: nothing twice, nothing left out, and the lost come back."""

from __future__ import annotations

from typing import Any

import pytest

from vitruvius.search import (
    MCTS,
    Distinct,
    Event,
    Exhausted,
    Exhaustive,
    RandomSearch,
    Search,
    asked,
    told,
)
from vitruvius.space import Repeat, enumerate_points, integers, one_of, uniform, where

SPACE: Any = (
    one_of(1, 2, 3, label="a"),
    Repeat((one_of("x", "y", label="k"),), times=one_of(1, 2)),
)


def ended(search: Search, trial: int, point: Any, score: float = 0.5) -> None:
    search.hear(asked(0, trial, point))
    search.hear(told(0, trial, score))


def test_exhaustive_goes_in_the_order_of_the_space() -> None:
    search, found = Exhaustive().begin(SPACE), []
    for trial in range(18):
        found.append(search.ask(trial))
        ended(search, trial, found[-1])
    assert found == list(enumerate_points(SPACE))
    with pytest.raises(Exhausted, match="All 18 points"):
        search.ask(18)


def test_exhaustive_comes_back_to_what_was_lost_and_skips_what_was_rejected() -> None:
    search = Exhaustive().begin(SPACE)
    every = list(enumerate_points(SPACE))
    for trial in range(5):
        search.hear(asked(0, trial, search.ask(trial)))
    assert search.ask(5) == every[5]
    search.hear(Event(0, "lost", 1))
    assert search.ask(5) == every[1]
    search.hear(Event(0, "rejected", 1, {"point": every[1], "attempt": 0}))
    assert search.ask(5) == every[5]
    search.hear(Event(0, "rejected", 5, {"point": every[5], "attempt": 0}))
    assert search.ask(5, attempt=1) == every[6]


def test_exhaustive_refuses_real_numbers() -> None:
    with pytest.raises(ValueError, match="cannot be enumerated"):
        Exhaustive().begin((uniform(0, 1),)).ask(0)


def test_a_lost_trial_may_be_asked_anew_with_the_same_point() -> None:
    search = Distinct(RandomSearch()).begin(SPACE)
    point = search.ask(0)
    search.hear(asked(0, 0, point))
    assert search.ask(0) != point
    search.hear(Event(1, "lost", 0))
    assert search.ask(0) == point


def test_a_point_that_another_trial_holds_stays_taken_when_one_is_lost() -> None:
    search = Distinct(RandomSearch()).begin(SPACE)
    point = search.ask(0)
    for trial in (0, 1):
        search.hear(asked(0, trial, point))
    search.hear(Event(0, "lost", 0))
    assert search.ask(0) != point


def test_a_searcher_that_always_says_the_same_is_led_to_a_neighbour() -> None:
    space: Any = tuple(one_of(*range(10), label=f"x{i}") for i in range(3))
    best = {"x0": 5, "x1": 5, "x2": 5}
    search = Distinct(MCTS(exploration=0.0), tries=2).begin(space)
    asks = []
    for trial in range(200):
        point = search.ask(trial)
        asks.append(tuple(point.values()))
        ended(search, trial, point, -sum(abs(point[k] - v) for k, v in best.items()))
    assert len(set(asks)) == 200
    assert (5, 5, 5) in asks


def rare(a: int, b: int) -> bool:
    return a == b


def test_the_last_points_of_a_conditioned_space_are_found() -> None:
    space: Any = (
        integers(1, 40, name="a"),
        integers(1, 40, name="b"),
        where(rare, "@a", "@b"),
    )
    search, found = Distinct(RandomSearch(), tries=1).begin(space), set()
    for trial in range(40):
        point = search.ask(trial)
        found.add(point["@a"])
        ended(search, trial, point)
    assert found == set(range(1, 41))
    with pytest.raises(Exhausted):
        search.ask(40)


def test_a_finite_branch_of_an_infinite_space_is_not_the_end() -> None:
    space: Any = (one_of("end", (uniform(0, 1, label="u"),), label="branch"),)
    search = Distinct(RandomSearch(), tries=1).begin(space)
    for trial in range(30):
        ended(search, trial, search.ask(trial))


def test_tries_is_at_least_one() -> None:
    with pytest.raises(ValueError, match=r"Distinct\.tries must be at least 1; got 0"):
        Distinct(tries=0)
