"""What points cost, and how a search weighs it against what they promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vitruvius.search import SMBO, Distinct, Price, Recorded, Search, asked, told
from vitruvius.search.costs import FREE, in_one_unit, priced, written
from vitruvius.search.improvement import log_improvement
from vitruvius.space import Point, canonical, one_of

CHEAP = Price(1e9, 1.0)
DEAR = Price(4e9, 8.0)


def test_costs_of_one_call_are_of_one_unit() -> None:
    assert in_one_unit([CHEAP, DEAR]) == [1.0, 8.0]
    assert in_one_unit([CHEAP, Price(4e9)]) == [1e9, 4e9]  # one speed is not known
    assert in_one_unit([CHEAP, Price(math.inf)]) == [1.0, math.inf]
    unknown = in_one_unit([CHEAP, Price()])
    assert unknown[0] == 1e9 and math.isnan(unknown[1])


def test_what_an_event_holds_gives_the_same_costs() -> None:
    points: list[Point] = [{"x": 1}, {"x": 2}, {"x": 3}]
    prices = [CHEAP, Price(math.inf), Price(2e9)]
    again = Recorded([written(p, price) for p, price in zip(points, prices, strict=True)])
    assert again(points) == in_one_unit(prices)
    assert again(points[:2]) == in_one_unit(prices[:2])


def test_improvement_is_the_mean_of_what_lies_above_the_best() -> None:
    draws = np.random.default_rng(0).standard_normal(2_000_000)
    mean, spread = np.array([0.0, 1.0, -1.0]), np.array([1.0, 0.5, 0.7])
    sampled = [np.maximum(m + s * draws - 0.3, 0).mean() for m, s in zip(mean, spread, strict=True)]
    np.testing.assert_allclose(np.exp(log_improvement(mean, spread, 0.3)), sampled, rtol=0.01)


def test_improvement_falls_without_a_jump_however_far_the_best_is() -> None:
    best = np.concatenate([np.linspace(0, 30, 601), np.linspace(90, 110, 401)])
    found = log_improvement(-best, np.ones(len(best)), 0.0)
    assert np.isfinite(found).all()
    for part in (found[:601], found[601:]):
        steps = np.diff(part)
        assert (steps < 0).all() and (np.abs(np.diff(steps)) < 0.01).all()


def test_improvement_far_below_is_the_integral() -> None:
    """ln(integral of (t - b) phi(t) dt from b), by a fine sum whose scale is taken out."""
    for best in (2.0, 10.0, 40.0):
        t = np.linspace(0.0, 40.0 / best, 400_001)  # beyond the best
        inside = t * np.exp(-best * t - t * t / 2)
        exact = -best * best / 2 - 0.5 * math.log(2 * math.pi)
        exact += math.log(float(np.trapezoid(inside, t)))
        np.testing.assert_allclose(log_improvement(np.zeros(1), np.ones(1), best), exact, rtol=1e-6)
    np.testing.assert_allclose(
        log_improvement(np.zeros(1), 2 * np.ones(1), 4.0),
        log_improvement(np.zeros(1), np.ones(1), 2.0) + math.log(2),
    )


def test_unknown_costs_are_ordinary_ones_and_nothing_is_free() -> None:
    np.testing.assert_allclose(priced([1.0, math.nan, 3.0], 1.0), [1.0, 2.0, 3.0])
    np.testing.assert_allclose(priced([0.0, 4.0], 1.0), [4.0 * FREE, 4.0])
    np.testing.assert_allclose(priced([4.0, 9.0], 0.5), [2.0, 3.0])
    np.testing.assert_allclose(priced([math.nan, math.nan], 1.0), [1.0, 1.0])
    np.testing.assert_allclose(priced([math.inf, math.nan], 1.0), [math.inf, 1.0])
    np.testing.assert_allclose(priced([0.0, 0.0], 1.0), [1.0, 1.0])


SPACE: Any = (
    one_of("cheap", "dear", label="size"),
    one_of(*range(6), label="a"),
    one_of(*range(6), label="b"),
)


def heard(search: Search, points: Sequence[Point]) -> None:
    for trial, point in enumerate(points):
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, float(point["a"] + point["b"])))


def asks(searcher: SMBO, costs: Any, count: int = 12) -> list[Point]:
    search = searcher.begin(SPACE)
    sizes = ("cheap", "dear")
    heard(search, [{"size": sizes[i % 2], "a": i % 5, "b": i // 2} for i in range(10)])
    return [search.ask(trial, costs=costs) for trial in range(20, 20 + count)]


def by_size(points: Sequence[Point]) -> list[float]:
    return [1.0 if p["size"] == "cheap" else 1000.0 for p in points]


def test_the_same_promise_is_taken_where_it_is_cheap() -> None:
    plain = asks(SMBO(epsilon=0.0), None)
    aware = asks(SMBO(epsilon=0.0), by_size)
    assert all(p["size"] == "cheap" for p in aware)
    assert any(p["size"] == "dear" for p in plain)


def test_the_start_is_cheap_and_still_random() -> None:
    search = SMBO(initial=30).begin(SPACE)
    sizes = [search.ask(trial, costs=by_size)["size"] for trial in range(30)]
    assert 24 <= sizes.count("cheap") < 30  # the dear one is taken where all four are: 1 in 16
    dear = SMBO(initial=30, per_cost=0.0).begin(SPACE)
    assert [dear.ask(t, costs=by_size) for t in range(5)] == [dear.ask(t) for t in range(5)]
    one = SMBO(initial=30, spare=1).begin(SPACE)
    assert [one.ask(t, costs=by_size) for t in range(5)] == [dear.ask(t) for t in range(5)]


def test_without_costs_or_with_exponent_nought_nothing_changes() -> None:
    plain = asks(SMBO(), None)
    assert asks(SMBO(per_cost=0.0), by_size) == plain
    assert asks(SMBO(per_cost=0.0), None) == plain
    assert asks(SMBO(weighed=1), by_size) == plain


def test_infeasible_candidates_are_not_taken() -> None:
    def costs(points: Sequence[Point]) -> list[float]:
        return [math.inf if p["size"] == "dear" else 1.0 for p in points]

    assert all(p["size"] == "cheap" for p in asks(SMBO(epsilon=0.0), costs))


def test_few_costs_are_asked_for() -> None:
    counts: list[int] = []

    def costs(points: Sequence[Point]) -> list[float]:
        counts.append(len(points))
        assert len({canonical(p) for p in points}) == len(points)
        return by_size(points)

    asks(SMBO(epsilon=0.0, weighed=4), costs)
    assert set(counts) == {4}


@pytest.mark.parametrize("seed", range(8))
def test_a_better_prefix_that_is_not_stored_is_found(seed: int) -> None:
    """Five prefixes of 20 seconds each, nine ways to go on of 1 second each. The last prefix is the
    best one. Whatever the search began with, it does not stay there."""
    space: Any = (
        one_of(*"abcde", label="prefix"),
        one_of(1, 2, 3, label="rate"),
        one_of(1, 2, 3, label="size"),
    )
    search = Distinct(SMBO(initial=2, epsilon=0.0, seed=seed)).begin(space)
    served: dict[str, int] = {}

    def costs(points: Sequence[Point]) -> list[float]:
        uses = max(1.0, sum(served.values()) / max(1, len(served)))
        return [1.0 + (p["prefix"] not in served) * 20.0 / uses for p in points]

    def score(point: Point) -> float:
        return {"a": 0.0, "b": 0.1, "c": 0.2, "d": 0.3, "e": 1.0}[point["prefix"]] + (
            0.05 * point["rate"] - 0.05 * abs(point["size"] - 2)
        )

    for trial in range(30):
        point = search.ask(trial, costs=costs)
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, score(point)))
        served[point["prefix"]] = served.get(point["prefix"], 0) + 1
    best = max(search.points.values(), key=score)
    assert best == {"prefix": "e", "rate": 3, "size": 2}


def test_wrong_exponents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SMBO\.per_cost must be an exponent .* got -1"):
        SMBO(per_cost=-1.0)
    with pytest.raises(ValueError, match=r"SMBO\.weighed must be at least 1; got 0"):
        SMBO(weighed=0)
