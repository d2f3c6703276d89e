"""Several objectives: what a searcher inside hears, and where that leads it."""

from __future__ import annotations

import itertools
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
    RegularizedEvolution,
    Searcher,
    ask,
    asked,
    beliefs,
)
from vitruvius.search.chebyshev import scalarized, weights
from vitruvius.search.history import cost_of
from vitruvius.space import Point, one_of, replay

SPACE: Any = tuple(one_of(*range(8), label=f"x{i}") for i in range(4))


def told(number: int, trial: int, score: float | None, **costs: Any) -> Event:
    status = "failed" if score is None else "finished"
    return Event(number, "told", trial, {"score": score, "status": status, **costs})


def test_gains_are_those_of_ranks_and_weights() -> None:
    costs = [(0.1, 1000.0), (0.2, 10.0), (0.9, 1.0)]
    ranks = np.array([(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
    w = np.array([0.7, 0.3])
    expected = -(np.max(ranks * w, axis=1) + 0.05 * np.sum(ranks * w, axis=1))
    np.testing.assert_allclose(scalarized(costs, w, 0.05), expected)


def test_the_best_under_any_weights_is_beaten_by_no_other_and_all_of_the_front_is_named() -> None:
    draw = Random(0)
    costs = [(draw.random(), draw.random(), draw.random()) for _ in range(12)]
    front = {
        i
        for i, a in enumerate(costs)
        if not any(all(x <= y for x, y in zip(b, a, strict=True)) and b != a for b in costs)
    }
    named = {int(np.argmax(scalarized(costs, weights(0, trial, 3), 0.01))) for trial in range(3000)}
    assert named <= front
    assert len(named) > 0.6 * len(front)


def test_equal_values_share_a_rank_and_what_is_not_known_is_the_worst() -> None:
    gains = scalarized([(1.0, 5.0), (1.0, 5.0), (1.0, np.inf)], np.array([0.5, 0.5]), 0.0)
    assert gains[0] == gains[1] > gains[2]
    assert scalarized([(1.0, 2.0)], np.array([0.5, 0.5]), 0.05)[0] == 0


def test_weights_are_a_function_of_seed_and_trial_and_uniform_on_the_simplex() -> None:
    assert (weights(3, 7, 2) == weights(3, 7, 2)).all()
    found = np.array([weights(0, trial, 2) for trial in range(2000)])
    np.testing.assert_allclose(found.sum(1), 1.0)
    np.testing.assert_allclose(
        np.quantile(found[:, 0], (0.25, 0.5, 0.75)), (0.25, 0.5, 0.75), atol=0.04
    )


def test_seconds_are_those_without_a_store() -> None:
    assert cost_of({"seconds": 0.1, "alone": 7.0}, "seconds") == 7.0
    assert cost_of({"seconds": 0.1, "alone": None}, "seconds") == 0.1
    assert cost_of({"latency": float("nan")}, "latency") is None
    assert cost_of({}, "parameters") is None


def quality(point: Point) -> float:
    """Best where all are 6."""
    return -float(sum((label - 6) ** 2 for label in point.values()))


def size(point: Point) -> float:
    """Smallest where all are 0."""
    return float(1 + sum(point.values()))


def run(searcher: Searcher, trials: int, better: Any = "higher") -> list[tuple[float, float]]:
    search, found = Distinct(searcher).begin(SPACE, better), []
    sign = 1.0 if better == "higher" else -1.0
    for trial in range(trials):
        point = search.ask(trial)
        found.append((quality(point), size(point)))
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, sign * found[-1][0], parameters=found[-1][1]))
    return found


def volume(found: list[tuple[float, float]]) -> float:
    """Of the quality that is reached within each size, from -144 at the worst."""
    return sum(
        max([144 + q for q, s in found if s <= limit], default=0.0) for limit in range(1, 30)
    )


@pytest.mark.parametrize("inner", [SMBO(), RegularizedEvolution(population=12, sample=6)])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_searcher_of_one_objective_finds_a_front(inner: Searcher, better: Any) -> None:
    seeds = range(1, 2)
    both = [volume(run(Chebyshev(inner.replace(seed=s)), 40, better)) for s in seeds]
    alone = [volume(run(inner.replace(seed=s), 40, better)) for s in seeds]
    assert np.mean(both) > np.mean(alone)


@pytest.mark.parametrize(
    "inner", [SMBO(initial=3), ASHA(), Prior(SMBO(initial=2), beliefs({"x0": 3}), strength=3.0)]
)
def test_kept_and_folded_states_ask_the_same(inner: Searcher) -> None:
    searcher = Chebyshev(inner, ("parameters", "seconds"))
    kept, events, draw = searcher.begin(SPACE, "lower"), [], Random(0)
    for trial in range(18):
        point = kept.ask(trial)
        assert point == kept.ask(trial) == ask(searcher, SPACE, events, trial, better="lower")
        replay(SPACE, point)
        fresh = searcher.begin(SPACE, "lower")
        for event in events:
            fresh.hear(event)
        share = kept.share(point)
        assert share == fresh.share(point)
        score = None if draw.random() < 0.2 else -quality(point)
        new = [
            asked(2 * trial, trial, point, share=share),
            told(2 * trial + 1, trial, score, parameters=size(point), seconds=draw.random()),
        ]
        for event in new:
            kept.hear(event)
        events += new


def test_rungs_are_compared_with_their_like() -> None:
    """Short trainings have worse scores and less work: that is no reason to prefer either."""
    search = Chebyshev(RegularizedEvolution(), ("flops",)).begin(SPACE)
    points = [dict.fromkeys((f"x{i}" for i in range(4)), v) for v in range(4)]
    for trial, point in enumerate(points):
        short = trial % 2
        search.hear(asked(2 * trial, trial, point, share=1 / 9 if short else 1.0))
        score, flops = (0.1 * trial, 1.0 + trial) if short else (0.9 + 0.01 * trial, 9.0 + trial)
        search.hear(told(2 * trial + 1, trial, score, flops=flops))
    search.ask(5)
    gains = [gain for gain, _ in search.inner.population]  # type: ignore[attr-defined]
    for own in (gains[::2], gains[1::2]):
        w = weights(0, 5, 2)
        assert own == pytest.approx(list(scalarized([(1, 0), (0, 1)], w, 0.05)))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Chebyshev\.also must name costs, such as"):
        Chebyshev(also=())
    with pytest.raises(ValueError, match=r"Chebyshev\.augmented must be at least 0; got -1"):
        Chebyshev(augmented=-1.0)


def test_asks_differ_from_trial_to_trial_along_the_front() -> None:
    found = run(Chebyshev(SMBO(seed=1)), 50)
    late = found[25:]
    assert min(s for _, s in late) <= 4 and max(q for q, _ in late) >= -16
    assert len(set(itertools.chain(late))) > 10
