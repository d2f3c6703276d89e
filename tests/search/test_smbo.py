"""The ridge, its features, the candidates: each against a plain computation of the same."""

from __future__ import annotations

import subprocess
import sys
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.search import SMBO, Event, RandomSearch, asked, told
from vitruvius.search.candidates import _Arrays, _Walks, candidates
from vitruvius.search.features import Features, pattern
from vitruvius.search.ridge import Ridge, shrink, spread
from vitruvius.search.smbo import WORST, _ModelBased, targets
from vitruvius.space import (
    Repeat,
    compile,
    decisions_of,
    derived,
    integers,
    log_uniform,
    one_of,
    optional,
    replay,
    uniform,
)

SPACE: Any = (
    log_uniform(1e-4, 1.0, label="rate"),
    Repeat(
        (one_of("thin", "wide", "odd", label="kind"), optional(uniform(0, 1, label="drop"))),
        times=one_of(1, 2, 4),
    ),
    one_of((integers(1, 100, log=True, label="heads"),), ("none",), label="mix"),
)


@given(st.integers(1, 60), st.integers(2, 12), st.floats(0.05, 5.0), st.integers(0, 99))
def test_updates_in_place_equal_the_normal_equations(
    rows: int, width: int, ridge: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    z, y = draw.standard_normal((rows, width)).astype(np.float32), draw.standard_normal(rows)
    model = Ridge(width, ridge)
    for row in z:
        model.add(row)
    exact = np.linalg.inv(ridge * np.eye(width) + z.astype(float).T @ z.astype(float))
    np.testing.assert_allclose(model.inverse, exact, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.products(y), z.astype(float).T @ y, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(model.rows, z)


def test_two_thousand_updates_stay_exact() -> None:
    draw = np.random.default_rng(0)
    z = np.cos(draw.standard_normal((2000, 40))).astype(np.float32)
    model = Ridge(40, 0.1)
    for row in z:
        model.add(row)
    exact = np.linalg.inv(0.1 * np.eye(40) + z.astype(float).T @ z.astype(float))
    np.testing.assert_allclose(model.inverse, exact, rtol=1e-5, atol=1e-9)


def test_spread_is_the_posterior_standard_deviation() -> None:
    """One feature, ridge 1/4: after n rows of 1 the weight's variance is (1/4) / (1/4 + n)."""
    inverse = np.eye(1) / 0.25
    rows = np.ones((1, 1), np.float32)
    for n in range(5):
        assert spread(inverse, rows, 0.25)[0] == pytest.approx((0.25 / (0.25 + n)) ** 0.5, rel=1e-6)
        shrink(inverse, np.ones(1))


def test_targets_are_logits_of_ranks_and_failures_the_worst() -> None:
    gains = np.array([0.9, -np.inf, 0.1, 0.5])
    found = targets(gains, np.sort(gains[np.isfinite(gains)]))
    assert found[3] == pytest.approx(0.0)
    assert found[0] == pytest.approx(-found[2])
    assert found[1] == WORST < found[2] < found[3] < found[0]
    tied = targets(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(tied, 0.0, atol=1e-12)


def test_targets_depend_on_the_order_of_scores_alone() -> None:
    gains = np.random.default_rng(0).standard_normal(50)
    a, b = (targets(g, np.sort(g)) for g in (gains, np.exp(gains) * 1e-3))
    np.testing.assert_array_equal(a, b)


def test_features_are_the_same_in_every_process() -> None:
    program = (
        "from vitruvius.search.features import Features; from vitruvius.space import one_of\n"
        "f = Features(16, 9, 0); t = f.table('a.b', one_of('x', 'y'))\n"
        "print(t.tobytes().hex(), f.phases().tobytes().hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": salt},
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_copies_share_their_pattern() -> None:
    assert pattern("repeat.2.norm") == pattern("repeat.11.norm") == "repeat.*.norm"
    assert pattern("repeat.3") == "repeat.*"
    assert pattern("conv2d.width") == "conv2d.width"
    features, domain = Features(512, 0, 0), one_of("a", "b")
    first, second = (features.table(f"r.{i}.kind", domain)[0] for i in (1, 2))  # type: ignore[arg-type]
    other = features.table("s.kind", domain)[0]  # type: ignore[arg-type]
    assert first @ second == pytest.approx(0.25)  # KIN squared: the shared pattern
    assert first @ other == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_arrays_and_walks_see_the_same_features(seed: int) -> None:
    program, features = compile(SPACE), Features(32, 24, 0)
    arrays = candidates(program, features)
    assert isinstance(arrays, _Arrays)
    points = [program.sample(Random(100 * seed + i)) for i in range(10)]
    np.testing.assert_allclose(
        arrays.sums(points), _Walks(program, features).sums(points), rtol=1e-5, atol=1e-5
    )
    sums, handles = arrays.draw(20, 20, [arrays.handle(p) for p in points[:3]], Random(seed))
    drawn = [arrays.point(handle) for handle in handles]
    np.testing.assert_allclose(sums, arrays.sums(drawn), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [_Arrays, _Walks])
def test_local_candidates_are_near_to_the_best(kind: Any) -> None:
    program, features = compile(SPACE), Features(8, 4, 0)
    found = candidates(program, features) if kind is _Arrays else _Walks(program, features)
    best = program.sample(Random(1))
    _, handles = found.draw(1, 24, [found.handle(best)], Random(0))
    changed = []
    for handle in list(handles)[1:]:
        point = found.point(handle)
        replay(SPACE, point)
        own = [d.address for d in decisions_of(SPACE, point) if d.address in best]
        same = [a for a in own if point[a] == pytest.approx(best[a])]
        changed.append(len(own) - len(same))
    assert 0 < np.mean(changed) < 3


def half(n: int) -> int:
    return max(1, n // 2)


def test_a_space_without_columns_is_searched_too() -> None:
    space: Any = (
        integers(1, 8, name="n"),
        Repeat((one_of(*range(5), label="x"),), times=derived(half, "@n")),
    )
    search = SMBO(initial=4).begin(space)
    assert isinstance(search, _ModelBased)
    assert isinstance(search.candidates, _Walks)
    for trial in range(30):
        point = search.ask(trial)
        replay(space, point)
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, float(point["@n"])))
    assert search.ask(99)["@n"] >= 7


def test_the_surrogate_sees_values_and_their_interplay() -> None:
    """Two numbers that only together say how good a point is: no sum of single effects can."""
    space: Any = tuple(one_of(*range(8), label=name) for name in "ab")
    score = lambda p: -abs((p["a"] - p["b"]) / 7)  # noqa: E731
    search = SMBO().begin(space)
    assert isinstance(search, _ModelBased)
    draw = Random(0)
    for trial in range(40):
        point = search.program.sample(draw)
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, score(point)))
    points = [{"a": a, "b": b} for a in range(8) for b in range(8)]
    rows = search.features.finish(search.candidates.sums(points), search.phases)
    predicted = rows @ (search.model.inverse @ search.products)
    truth = np.array([score(p) for p in points])
    assert np.corrcoef(predicted, truth)[0, 1] > 0.8


def test_what_runs_is_not_asked_again_and_spreads_the_next_asks() -> None:
    space: Any = (uniform(0, 1, label="x"), uniform(0, 1, label="y"))
    search = SMBO(initial=4, epsilon=0.0).begin(space)
    for trial in range(20):
        point = search.ask(trial)
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, -((point["x"] - 0.5) ** 2)))
    asks = []
    for trial in range(20, 26):  # six workers, none has answered
        asks.append(search.ask(trial))
        search.hear(asked(0, trial, asks[-1]))
    assert len({(p["x"], p["y"]) for p in asks}) == 6
    assert len(search.rows) == 6  # type: ignore[attr-defined]


def test_before_the_first_score_points_are_random() -> None:
    search = SMBO(initial=5, seed=4).begin(SPACE)
    rng = RandomSearch(seed=4).begin(SPACE)
    for trial in range(5):
        point = search.ask(trial)
        assert point == rng.ask(trial)
        search.hear(asked(0, trial, point))
        search.hear(Event(0, "lost", trial))


def history(numbers: int) -> list[Event]:
    draw, program = Random(5), compile(SPACE)
    events = []
    for i in range(numbers):
        events += [asked(0, i, program.sample(draw)), told(0, i, draw.random())]
    return events


@settings(max_examples=5, deadline=None)
@given(st.integers(129, 260))
def test_late_targets_stay_near_to_the_exact_ones(count: int) -> None:
    search = SMBO(linear=16, random=16).begin(SPACE)
    assert isinstance(search, _ModelBased)
    for event in history(count):
        search.hear(event)
    gains = np.array(search.gains)
    exact = search.model.products(targets(gains, np.sort(gains)))
    error = np.abs(search.products - exact).max()
    assert error < 0.02 * np.abs(search.model.rows).sum()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initial": 0}, "SMBO.initial must be at least 1; got 0"),
        ({"pool": 0}, "SMBO.pool must be at least 1; got 0"),
        ({"epsilon": 1.5}, r"SMBO.epsilon must be in \[0, 1\]; got 1.5"),
        ({"ridge": 0.0}, "SMBO needs ridge > 0"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMBO(**fields)
