"""What earlier studies found: points that come first, and evidence of less weight."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest

from vitruvius.search import (
    ASHA,
    SMBO,
    Chebyshev,
    Distinct,
    Event,
    Prior,
    RandomSearch,
    RegularizedEvolution,
    Search,
    Searcher,
    Transfer,
    TreeBO,
    ask,
    asked,
    beliefs,
    told,
)
from vitruvius.search.history import standings
from vitruvius.space import Point, canonical, compile, one_of, replay

SPACE: Any = tuple(one_of(*range(8), label=f"x{i}") for i in range(4))
EDITED: Any = (  # x0 has lost its low values, x1 is gone, "new" is new
    one_of(4, 5, 6, 7, 8, 9, label="x0"),
    *SPACE[2:],
    one_of("a", "b", label="new"),
)


def earlier(points: list[Point], scores: list[float | None], better: str = "higher", **more: Any):
    trials = [
        {"trial": i, "point": point, "score": score, "agrees": 1.0, **more}
        for i, (point, score) in enumerate(zip(points, scores, strict=True), 1)
    ]
    return Event(1, "earlier", 0, {"from": "runs/a", "better": better, "trials": trials})


def point(*labels: int) -> Point:
    return {f"x{i}": label for i, label in enumerate(labels)}


POINTS = [point(0, 0, 0, 0), point(5, 1, 2, 3), point(7, 7, 7, 7), point(6, 0, 1, 0)]
EVENT = earlier(POINTS, [0.2, 0.9, None, 0.5])


def heard(searcher: Searcher, *events: Event, space: Any = SPACE) -> Search:
    search = searcher.begin(space)
    for event in events:
        search.hear(event)
    return search


def test_standings_are_logits_of_ranks_and_failures_are_the_lowest() -> None:
    body = {"better": "higher", "trials": [{"score": s} for s in (0.1, 0.9, 0.5, None, math.nan)]}
    low, high, middle, failed, strange = standings(body)
    assert middle == pytest.approx(0.0) and low == pytest.approx(-high)
    assert high == pytest.approx(math.log((5 + 1) / 8 / (2 / 8)) / 1.7)
    assert failed == strange == -2.0 < low
    lower = standings({**body, "better": "lower"})
    assert lower[0] == pytest.approx(high) and lower[3] == -2.0
    alike = standings({"better": "higher", "trials": [{"score": 1.0}, {"score": 1.0}]})
    assert alike == [0.0, 0.0]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_best_earlier_points_come_first_and_then_those_of_the_searcher(better: str) -> None:
    sign = 1 if better == "higher" else -1
    event = earlier(POINTS, [0.2 * sign, 0.9 * sign, None, 0.5 * sign], better)
    searcher = Transfer(RandomSearch(seed=3), first=2)
    events = [event]
    for trial, expected in ((1, POINTS[1]), (2, POINTS[3])):
        found = ask(searcher, SPACE, events, trial)
        assert found == expected
        events += [asked(2 * trial, trial, found), told(2 * trial + 1, trial, 0.5)]
    assert ask(searcher, SPACE, events, 3) == ask(RandomSearch(seed=3), SPACE, events, 3)


def test_of_an_edited_space_what_fits_is_kept() -> None:
    search = heard(Transfer(RandomSearch(), first=4), EVENT, space=EDITED)
    found = search.ask(1)
    assert found["x0"] == 5 and found["x2"] == 2 and found["x3"] == 3
    assert "x1" not in found and found["new"] in ("a", "b")
    assert found == search.ask(1) == ask(Transfer(first=4), EDITED, [EVENT], 1)
    refused = {"point": found, "attempt": 0, "address": "", "reason": ""}
    search.hear(Event(2, "rejected", 1, refused))
    second = search.ask(1, attempt=1)
    assert second["x0"] == 6
    search.hear(asked(3, 1, second))
    search.hear(told(4, 1, 0.1))
    assert search.ask(2)["x0"] in (4, 5, 6, 7, 8, 9)  # of the worst, what is gone was drawn


def test_earlier_trials_are_rows_of_less_weight_in_the_regression() -> None:
    """The mean is that of a weighted regression; the covariance gains the outer product of it."""
    search: Any = heard(Transfer(SMBO(), weight=0.3), EVENT).inner  # type: ignore[attr-defined]
    rows = np.array([search._row(p) for p in POINTS], np.float64)
    rows[:, 0] = 0.0
    targets = np.array(standings(EVENT.body))
    width, ridge = rows.shape[1], SMBO().ridge
    inverse = np.linalg.inv(ridge * np.eye(width) + 0.3 * rows.T @ rows)
    mean = inverse @ (0.3 * rows.T @ targets)
    np.testing.assert_allclose(search.model.inverse @ search.recalled, mean, atol=1e-8)
    doubted = inverse + np.outer(mean, mean) / ridge
    np.testing.assert_allclose(search.model.inverse, doubted, atol=1e-8)
    seen = np.array([search._row(p) for p in POINTS])
    np.testing.assert_allclose(search._mean(seen), seen @ mean, atol=1e-4)
    assert search._mean(seen).argmax() == 1


def test_a_second_study_adds_to_the_first() -> None:
    search: Any = heard(Transfer(SMBO(), weight=0.3), EVENT, EVENT).inner  # type: ignore[attr-defined]
    rows = np.array([search._row(p) for p in POINTS], np.float64)
    rows[:, 0] = 0.0
    ridge = SMBO().ridge
    products = 0.3 * rows.T @ np.array(standings(EVENT.body))
    alone = np.linalg.solve(ridge * np.eye(len(products)) + 0.3 * rows.T @ rows, products)
    first = np.linalg.inv(ridge * np.eye(len(products)) + 0.3 * rows.T @ rows)
    first += np.outer(alone, alone) / ridge
    told_twice = np.linalg.inv(np.linalg.inv(first) + 0.3 * rows.T @ rows)
    mean = told_twice @ (np.linalg.solve(first, alone) + products)
    np.testing.assert_allclose(search.model.inverse @ search.recalled, mean, atol=1e-6)


def loss(point: Point) -> float:
    return float(sum((label - 5) ** 2 for label in point.values() if isinstance(label, int)))


def best_of(searcher: Searcher, event: Event | None, trials: int) -> np.ndarray:
    search, found = Distinct(searcher).begin(SPACE, "lower"), []
    if event is not None:
        search.hear(event)
    for trial in range(1, trials + 1):
        named = search.ask(trial)
        found.append(loss(named))
        search.hear(asked(2 * trial, trial, named))
        search.hear(told(2 * trial + 1, trial, found[-1]))
    return np.minimum.accumulate(found)


@pytest.mark.parametrize("inner", [SMBO(), TreeBO()])
def test_it_is_faster_with_an_earlier_study_and_gets_over_a_misleading_one(
    inner: Searcher,
) -> None:
    program, draw = compile(SPACE), Random(0)
    points = [program.sample(draw) for _ in range(40)]
    kin = earlier(points, [loss(p) + 3 * draw.random() for p in points], "lower")
    foreign = earlier(points, [-loss(p) for p in points], "lower")
    seeds = range(2)
    cold = np.mean([best_of(inner.replace(seed=s), None, 40) for s in seeds], axis=0)
    warm = np.mean([best_of(Transfer(inner.replace(seed=s)), kin, 40) for s in seeds], axis=0)
    misled = np.mean([best_of(Transfer(inner.replace(seed=s)), foreign, 40) for s in seeds], axis=0)
    assert warm[:11].mean() < 0.5 * cold[:11].mean()
    assert misled[-1] <= 2 < misled[2]


def test_without_points_and_weight_it_is_the_searcher_inside() -> None:
    events = [EVENT]
    for trial in range(1, 14):
        named = ask(Transfer(SMBO(seed=5), first=0, weight=0.0), SPACE, events, trial)
        assert named == ask(SMBO(seed=5), SPACE, events, trial)
        events += [asked(2 * trial, trial, named), told(2 * trial + 1, trial, -loss(named))]


@pytest.mark.parametrize(
    "searcher",
    [
        Transfer(SMBO(initial=2)),
        Transfer(TreeBO(initial=2)),
        Transfer(ASHA(SMBO(initial=2))),
        Transfer(RegularizedEvolution(population=4)),
        Prior(Transfer(SMBO(initial=2)), beliefs({"x2": 3}), strength=2.0),
        Chebyshev(Transfer(SMBO(initial=2)), ("parameters",)),
        Transfer(Chebyshev(SMBO(initial=2), ("parameters",))),
    ],
    ids=lambda s: repr(s)[:40],
)
def test_kept_and_folded_states_ask_the_same(searcher: Searcher) -> None:
    event = earlier(POINTS, [0.2, 0.9, None, 0.5], parameters=10.0)
    kept, events = searcher.begin(EDITED), [event, event]
    for one in events:
        kept.hear(one)
    for trial in range(1, 14):
        named = kept.ask(trial)
        assert named == kept.ask(trial) == ask(searcher, EDITED, events, trial)
        replay(EDITED, named)
        score = None if trial % 6 == 0 else -loss(named)
        body = {"score": score, "status": "failed" if score is None else "finished"}
        new = [
            asked(2 * trial, trial, named, share=kept.share(named)),
            Event(2 * trial + 1, "told", trial, {**body, "parameters": float(named["x2"])}),
        ]
        for one in new:
            kept.hear(one)
        events += new


def test_every_rung_of_a_halving_search_hears_of_earlier_studies() -> None:
    search: Any = heard(Transfer(ASHA(SMBO())), EVENT)
    assert [inner.recalls for inner in search.inner.inner] == [4, 4, 4]


def test_with_several_objectives_earlier_points_end_with_their_turn() -> None:
    """Under each weights others are the best; only so many trials go to earlier points."""
    draw, program = Random(1), compile(SPACE)
    points = [program.sample(draw) for _ in range(30)]
    event = earlier(points, [-loss(p) for p in points])
    event.body["trials"][0]["parameters"] = 5.0
    search = Chebyshev(Transfer(RandomSearch(), first=3)).begin(SPACE)
    search.hear(event)
    texts = {canonical(p) for p in points}
    found = []
    for trial in range(1, 9):
        found.append(canonical(search.ask(trial)))
        search.hear(asked(2 * trial, trial, search.ask(trial)))
        search.hear(told(2 * trial + 1, trial, 0.1))
    assert all(text in texts for text in found[:3])
    assert not any(text in texts for text in found[3:])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Transfer\.first must be at least 0; got -1"):
        Transfer(first=-1)
    with pytest.raises(ValueError, match=r"Transfer\.weight must be in \[0, 1\]; got 2"):
        Transfer(weight=2.0)
