"""Algorithm 1 of Real et al.: the oldest dies, the best of a sample has a child, one change off."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from vitruvius.search import Event, RandomSearch, RegularizedEvolution, ask, asked, told
from vitruvius.space import (
    Repeat,
    compile,
    integers,
    log_uniform,
    one_of,
    optional,
    replay,
    uniform,
    where,
)

FLAT: Any = tuple(one_of(*range(5), label=f"x{i}") for i in range(6))
TREE: Any = (
    one_of("sgd", ("adam", uniform(0, 1, label="decay")), label="rule"),
    Repeat(
        (one_of("a", "b", label="k"), optional(integers(1, 9, label="w"))), times=one_of(1, 2, 4)
    ),
)


def lived(space: Any, scores: list[float | None]) -> list[Event]:
    events = []
    for i, score in enumerate(scores):
        events += [asked(2 * i, i, compile(space).sample(Random(i))), told(2 * i + 1, i, score)]
    return events


def changes(parent: Any, child: Any) -> list[str]:
    return [a for a in parent if a in child and parent[a] != child[a]]


@pytest.mark.parametrize("seed", range(20))
def test_a_child_differs_from_the_best_of_all_in_one_decision(seed: int) -> None:
    events = lived(FLAT, [0.1, 0.9, 0.3, 0.2])
    searcher = RegularizedEvolution(population=4, sample=4, seed=seed)
    child = ask(searcher, FLAT, events, 4)
    assert len(changes(events[2].body["point"], child)) == 1


def test_the_oldest_is_forgotten_however_good() -> None:
    events = lived(FLAT, [1.0, 0.1, 0.2, 0.3])
    searcher = RegularizedEvolution(population=3, sample=3)
    children = [ask(searcher, FLAT, events, t) for t in range(10, 30)]
    assert all(len(changes(events[6].body["point"], child)) == 1 for child in children)


def test_lower_is_better_and_failures_are_the_worst() -> None:
    events = lived(FLAT, [0.5, None, 0.1, float("nan")])
    searcher = RegularizedEvolution(population=4, sample=4)
    child = ask(searcher, FLAT, events, 9, better="lower")
    assert len(changes(events[4].body["point"], child)) == 1


def test_all_failed_is_still_a_population() -> None:
    events = lived(FLAT, [None] * 4)
    replay(FLAT, ask(RegularizedEvolution(population=4, sample=2), FLAT, events, 9))


def test_points_are_random_until_the_population_is_full() -> None:
    for seed in range(5):
        searcher = RegularizedEvolution(population=9, sample=2, seed=seed)
        events = lived(FLAT, [0.5] * 8)
        assert ask(searcher, FLAT, events, 8) == ask(RandomSearch(seed=seed), FLAT, events, 8)


@pytest.mark.parametrize("seed", range(30))
def test_children_of_another_length_keep_what_fits(seed: int) -> None:
    events = lived(TREE, [0.5, 0.6, 0.7])
    parent = events[4].body["point"]
    child = ask(RegularizedEvolution(population=3, sample=3, seed=seed), TREE, events, 9)
    replay(TREE, child)
    assert len(changes(parent, child)) <= 1


def test_lengths_do_vary() -> None:
    searcher = RegularizedEvolution(population=3, sample=3)
    events = lived(TREE, [0.5, 0.6, 0.7])
    assert len({len(ask(searcher, TREE, events, t)) for t in range(60)}) > 2


def test_small_steps_stay_near_along_an_order() -> None:
    space: Any = (log_uniform(1e-6, 1.0, label="rate"),)
    events = [asked(0, 0, {"rate": 1e-3}), told(1, 0, 1.0)]
    near = RegularizedEvolution(population=1, sample=1, step=1.0)
    domain = space[0]
    moved = [domain.position(ask(near, space, events, t)["rate"]) - 0.5 for t in range(1, 200)]
    assert all(moved)
    assert sum(x * x for x in moved) / len(moved) == pytest.approx(0.01, rel=0.4)


def tight(a: int, b: int) -> bool:
    return a + b == 9


def test_a_tight_condition_does_not_stop_evolution() -> None:
    space: Any = (
        one_of(*range(10), name="a"),
        one_of(*range(10), name="b"),
        where(tight, "@a", "@b"),
    )
    events = lived(space, [0.1, 0.2, 0.3])
    for trial in range(3, 10):
        replay(space, ask(RegularizedEvolution(population=3, sample=2), space, events, trial))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"population": 0}, "must be at least 1; got 0 and 12"),
        ({"step": 2.0}, r"step must be in \[0, 1\]; got 2.0"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegularizedEvolution(**fields)
