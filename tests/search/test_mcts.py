"""Card 01: bisection depth (invariant 2), bookkeeping (invariant 5), forced chains."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.search import MCTS, Distinct, Event, ask, asked, told
from vitruvius.search.cells import cell_of, cells, draw_within, parts
from vitruvius.search.mcts import Place, _TreeSearch
from vitruvius.space import (
    Point,
    canonical,
    compile,
    enumerate_points,
    integers,
    log_uniform,
    one_of,
    uniform,
    where,
)


def halvings(domain: Any, depth: int = 5) -> dict[int, int]:
    """Of each cell: the number of halvings until it is alone."""
    size = cells(domain, depth)
    found: dict[int, int] = {}

    def go(low: int, high: int, level: int) -> None:
        if high - low == 1:
            found[low] = level
            return
        (a, b), (c, d) = parts(domain, low, high, halved=True)
        assert a == low < b == c < d == high
        go(a, b, level + 1)
        go(c, d, level + 1)

    go(0, size, 0)
    assert sorted(found) == list(range(size))
    return found


@given(st.integers(2, 200))
def test_bisection_takes_floor_or_ceil_of_log2(n: int) -> None:
    for domain in (one_of(*range(n)), integers(5, 4 + n)):
        assert set(halvings(domain).values()) <= {
            math.floor(math.log2(n)),
            math.ceil(math.log2(n)),
        }


def test_bisection_depths_of_the_card() -> None:
    assert set(halvings(one_of(*range(32))).values()) == {5}
    assert set(halvings(one_of(*range(48, 129, 16))).values()) == {2, 3}
    assert set(halvings(one_of(3, 5, 7)).values()) == {1, 2}
    assert set(halvings(uniform(0, 1), depth=7).values()) == {7}


def test_a_logarithmic_integer_is_halved_by_ratio() -> None:
    domain: Any = integers(1, 1000, log=True)
    (_, middle), _ = parts(domain, 0, 1000, halved=True)
    assert domain.low + middle - 1 == pytest.approx(math.sqrt(0.5 * 1000.5), abs=1)


@given(st.integers(0, 10**6), st.data())
def test_a_label_drawn_from_a_range_lies_in_it(seed: int, data: st.DataObject) -> None:
    domain: Any = data.draw(
        st.sampled_from(
            [one_of(*range(7)), one_of("a", "b", "c"), integers(3, 12), integers(1, 500, log=True),
             uniform(-1, 3), log_uniform(1e-6, 1e2)]
        )
    )  # fmt: skip
    size = cells(domain, 5)
    low = data.draw(st.integers(0, size - 1))
    high = data.draw(st.integers(low + 1, size))
    label = draw_within(domain, low, high, size, Random(seed))
    assert domain.contains(label)
    number = cell_of(domain, label, size)
    slack = 1 if domain.kind == "real" else 0  # a bound may round to either side
    assert low - slack <= number < high + slack


SPACE: Any = (
    one_of(*range(6), label="ordered"),
    one_of("a", "b", "c", label="kind"),
    uniform(0, 1, label="real"),
    one_of((one_of(1, 2, 3, label="inner"),), ("none",), label="branch"),
)


def everywhere(place: Place) -> Iterator[Place]:
    yield place
    for child in place.children.values():
        yield from everywhere(child)


def search_of(mcts: MCTS, space: Any) -> _TreeSearch:
    found = mcts.begin(space)
    assert isinstance(found, _TreeSearch)
    return found


@pytest.mark.parametrize("bisect", [True, False])
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from("atfslr"), max_size=60), seed=st.integers(0, 99))
def test_visits_and_totals_add_up(bisect: bool, steps: list[str], seed: int) -> None:
    """Visits of a place = those of its children + the trials whose path ends there; the root has
    every trial that was not lost, and every rejected point."""
    search, draw = search_of(MCTS(bisect=bisect, seed=seed), SPACE), Random(seed)
    running: list[int] = []
    alive = rejected = 0
    gains: list[float] = []
    for number, step in enumerate(steps):
        if step == "a" or not running:
            point = search.ask(number)
            search.hear(asked(number, number, point))
            running.append(number)
            alive += 1
            continue
        trial = running.pop(draw.randrange(len(running)))
        if step in "ts":
            gains.append(draw.random())
            event = told(number, trial, gains[-1])
        elif step == "f":
            event = told(number, trial, None)
        elif step == "l":
            event, alive = Event(number, "lost", trial), alive - 1
        else:
            event = Event(number, "rejected", trial, {"point": search.points[trial]})
            alive, rejected = alive - 1, rejected + 1
        search.hear(event)
    assert search.root.visits == alive + rejected
    assert len(search.root.gains) == len(gains)
    assert search.root.total == pytest.approx(sum(gains))
    for place in everywhere(search.root):
        below = sum(child.visits for child in place.children.values())
        assert place.visits >= below
        assert place is search.root or place.visits >= 1
        assert len(place.gains) <= place.visits


def test_without_losses_each_place_is_expanded_by_one_visit() -> None:
    search = search_of(MCTS(), SPACE)
    for trial in range(200):
        point = search.ask(trial)
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, point["ordered"] / 5))
    assert search.root.visits == 200 == sum(c.visits for c in search.root.children.values())
    for place in everywhere(search.root):
        below = sum(child.visits for child in place.children.values())
        if place is not search.root and place.children:
            assert place.visits == below + 1


@pytest.mark.parametrize("bisect", [True, False])
@pytest.mark.parametrize("rewards", ["rank", "range"])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_without_exploration_the_best_is_chosen_once_all_were_tried(
    bisect: bool, rewards: Any, better: Any
) -> None:
    space: Any = (one_of(3, 5, 7, 9, label="x"),)
    sign = 1 if better == "higher" else -1
    score = lambda point: sign * -abs(point["x"] - 9)  # noqa: E731
    search = MCTS(exploration=0.0, bisect=bisect, rewards=rewards).begin(space, better)
    for trial, point in enumerate([*enumerate_points(space)] * 2):  # the first visit may end above
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, score(point)))
    for trial in range(8, 20):
        assert search.ask(trial) == {"x": 9}
        search.hear(asked(0, trial, {"x": 9}))
        search.hear(told(0, trial, score({"x": 9})))


def test_every_child_is_tried_before_any_is_tried_twice() -> None:
    space: Any = (one_of(*"abcdefgh", label="x"),)
    search, seen = MCTS(exploration=0.0).begin(space), set()
    for trial in range(8):
        point = search.ask(trial)
        seen.add(point["x"])
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, 1.0 if trial == 0 else 0.0))
    assert len(seen) == 8


def test_running_trials_are_a_virtual_loss() -> None:
    space: Any = (one_of("a", "b", label="x"),)
    history = [asked(0, 0, {"x": "a"}), told(1, 0, 1.0), asked(2, 1, {"x": "b"}), told(3, 1, 0.9)]
    mcts = MCTS(exploration=0.0, rewards="range")
    assert ask(mcts, space, history, 2) == {"x": "a"}
    history += [asked(4, 2, {"x": "b"}), told(5, 2, 1.0)]  # b: (0 + 1) / 2
    running = [asked(6 + i, 3 + i, {"x": "a"}) for i in range(2)]  # a: 1 / 3
    assert ask(mcts, space, history, 9) == {"x": "a"}
    assert ask(mcts, space, history + running, 9) == {"x": "b"}


def test_infeasible_and_failed_count_as_the_worst() -> None:
    space: Any = (one_of("a", "b", label="x"), one_of(*range(9), label="y"))
    history = [asked(0, 0, {"x": "a", "y": 0}), told(1, 0, 0.1)]
    history += [asked(2, 1, {"x": "b", "y": 0}), told(3, 1, 0.2)]
    b = {"point": {"x": "b", "y": 1}, "attempt": 0, "address": "x", "reason": "hole"}
    mcts = MCTS(exploration=0.0)
    assert ask(mcts, space, history, 2)["x"] == "b"
    history += [Event(4 + i, "rejected", 2, b) for i in range(5)]
    assert ask(mcts, space, history, 2)["x"] == "a"
    history += [
        e for i in range(9) for e in (asked(0, 9 + i, {"x": "a", "y": i}), told(0, 9 + i, None))
    ]
    assert ask(mcts, space, history, 2)["x"] == "b"


def test_a_forced_chain_is_returned_without_expanding() -> None:
    search = search_of(MCTS(), (one_of(1), one_of("x", name="n"), integers(4, 4)))
    for trial in range(3):
        assert search.ask(trial) == {}
        search.hear(asked(0, trial, {}))
        search.hear(told(0, trial, 0.5))
    assert not search.root.children
    assert search.root.visits == 3


def rare(a: int, b: int, c: int) -> bool:
    return (a, b, c) == (7, 7, 7)


def test_one_feasible_point_of_512_is_found_and_asking_leaves_no_trace() -> None:
    space: Any = (
        *(one_of(*range(8), name=name) for name in "abc"),
        where(rare, "@a", "@b", "@c"),
    )
    search = search_of(MCTS(), space)
    assert search.ask(0) == {"@a": 7, "@b": 7, "@c": 7}
    assert search.root.visits == 0
    assert not search.root.children


def never(a: int) -> bool:
    return False


def test_a_space_without_feasible_point_says_why() -> None:
    space: Any = (one_of(1, 2, name="a"), where(never, "@a"))
    with pytest.raises(ValueError, match="never does not hold for @a"):
        MCTS().begin(space).ask(0)


def test_many_values_without_bisection_do_not_slow_an_ask() -> None:
    space: Any = (integers(0, 10**9, label="x"), uniform(0, 1, label="u"))
    search = search_of(MCTS(bisect=False), space)
    for trial in range(50):
        point = search.ask(trial)
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, point["u"]))
    assert len(search.root.children) == 50


@pytest.mark.parametrize("bisect", [True, False])
def test_bisected_and_plain_search_reach_the_same_points(bisect: bool) -> None:
    space: Any = (one_of(1, 2, 3, 4, 5, label="x"), one_of(8, 16, 32, label="y"))
    every = {canonical(p) for p in enumerate_points(space)}
    search = Distinct(MCTS(bisect=bisect)).begin(space)
    found = set()
    for trial in range(15):
        point = search.ask(trial)
        found.add(canonical(point))
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, 0.5))
    assert found == every


def test_statistics_are_of_raw_scores_and_scale_does_not_matter() -> None:
    scores = [0.1, 0.5, 0.30, 0.2, 0.9, 0.4, 0.8]
    points: list[Point] = [compile(SPACE).sample(Random(i)) for i in range(7)]
    for rewards in ("rank", "range"):
        told_points = []
        for scale, shift in ((1, 0), (1024.0, -512.0), (2.0**-20, 0)):
            history = [
                e
                for i, (p, s) in enumerate(zip(points, scores, strict=True))
                for e in (asked(2 * i, i, p), told(2 * i + 1, i, s * scale + shift))
            ]
            mcts = MCTS(exploration=0.3, rewards=rewards)
            told_points.append([ask(mcts, SPACE, history, t) for t in range(7, 17)])
        assert all(a == b for a, b in itertools.pairwise(told_points))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exploration": -1.0}, r"MCTS.exploration must not be negative; got -1.0"),
        ({"depth": 0}, r"MCTS.depth must be from 1 to 30 halvings; got 0"),
        ({"rewards": "raw"}, r"MCTS.rewards is 'rank' or 'range'; got 'raw'"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MCTS(**fields)
