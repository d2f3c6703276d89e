"""One decision at a time: on functions whose optimum is known."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from vitruvius.search import Gradual, asked, told
from vitruvius.space import Point, canonical, one_of, optional, uniform, where

SIZES = (6, 4, 5, 3)
GRID: Any = tuple(one_of(*range(size), label=f"x{i}") for i, size in enumerate(SIZES))


def climb(space: Any, score: Any, count: int, searcher: Gradual | None = None) -> list[Point]:
    search, points = (searcher or Gradual()).begin(space), []
    for trial in range(count):
        points.append(search.ask(trial))
        search.hear(asked(2 * trial, trial, points[-1]))
        search.hear(told(2 * trial + 1, trial, score(points[-1])))
    return points


@pytest.mark.parametrize("seed", range(200))
def test_a_separable_function_with_one_peak_is_climbed_in_few_runs(seed: int) -> None:
    draw = Random(seed)
    peaks = [draw.randrange(size) for size in SIZES]
    weights = [draw.uniform(0.1, 3) for _ in SIZES]

    def score(point: Point) -> float:
        far = zip(point.values(), peaks, weights, strict=True)
        return -sum(weight * abs(label - peak) for label, peak, weight in far)

    points = climb(GRID, score, sum(SIZES) + 2)
    assert max(map(score, points)) == 0
    assert len({canonical(point) for point in points}) == len(points)


def test_a_direction_is_followed_until_it_is_worse() -> None:
    space: Any = (one_of(*range(9), label="learning_rate"), one_of(*range(3), label="other"))
    points = climb(space, lambda p: -abs(p["learning_rate"] - 7), 7)
    assert [point["learning_rate"] for point in points[:5]] == [4, 3, 5, 6, 7]
    assert points[5]["learning_rate"] == 8 and points[6]["other"] != points[5]["other"]


def test_what_the_user_names_comes_first() -> None:
    space: Any = (one_of(1, 2, 3, label="width"), one_of(1, 2, 3, label="rate"))
    points = climb(space, lambda _: 0.0, 2, Gradual(first=("rate",)))
    assert points[1]["rate"] != points[0]["rate"] and points[1]["width"] == points[0]["width"]


def test_steps_along_a_real_decision_become_finer() -> None:
    points = climb((uniform(0, 1, label="x"),), lambda p: -abs(p["x"] - 0.637), 16)
    assert min(abs(point["x"] - 0.637) for point in points) < 0.01


def test_options_bring_their_own_decisions() -> None:
    space: Any = (optional(uniform(0, 1, label="drop"), label="dropping"), one_of(1, 2, label="x"))
    points = climb(space, lambda p: p["x"] + p.get("dropping.drop", p.get("drop", 0.0)), 30)
    assert max(point["x"] for point in points) == 2
    assert any(len(point) == 3 for point in points)


def test_after_the_last_step_the_best_is_perturbed() -> None:
    trap = {0: 1.0, 1: 0.0, 2: 0.9, 3: 0.0, 4: 2.0}
    space: Any = tuple(one_of(*range(5), label=f"x{i}") for i in range(2))
    points = climb(space, lambda p: sum(trap[label] for label in p.values()), 40)
    assert {"x0": 4, "x1": 4} in points


def small(a: int, b: int) -> bool:
    return a + b <= 6


def test_conditions_are_kept() -> None:
    space: Any = (
        one_of(1, 2, 3, 4, name="a"),
        one_of(1, 2, 3, 4, name="b"),
        where(small, "@a", "@b"),
    )
    points = climb(space, lambda p: p["@a"] * p["@b"], 10)
    assert all(p["@a"] + p["@b"] <= 6 for p in points)
    assert max(p["@a"] * p["@b"] for p in points) >= 8


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"passes": 0}, "Gradual.passes must be at least 1; got 0"),
        ({"first": ("",)}, "Gradual.first holds ends of addresses"),
    ],
)
def test_what_it_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Gradual(**fields)
