"""Rank fidelity and the rungs that it places: exact cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vitruvius.search import (
    ASHA,
    Distinct,
    Event,
    RandomSearch,
    Search,
    SuccessiveHalving,
    asked,
    told,
)
from vitruvius.search.curves import Curves
from vitruvius.search.halving import HalvingSearch
from vitruvius.search.rank_fidelity import RankFidelity, kendall, spearman
from vitruvius.search.rung_plan import RungPlan, plan_rungs, survivors
from vitruvius.space import canonical, uniform

QUARTERS = np.array([0.25, 0.5, 0.75, 1.0])
LINE: Any = (uniform(0, 1, label="x"),)


def test_correlations_by_hand() -> None:
    """One pair of neighbours of four is swapped: rho = 1 - 6 * 2 / (4 * 15), tau = (5 - 1) / 6."""
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0])
    assert spearman(a, b).value == pytest.approx(0.8)
    assert kendall(a, b).value == pytest.approx(2 / 3)
    assert math.isnan(spearman(a, b).low)  # four designs tell no interval
    assert math.isnan(spearman(a, np.ones(4)).value)


def test_correlations_with_ties_agree_with_scipy() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 9, 60).astype(float), draw.integers(0, 9, 60).astype(float)
    assert spearman(a, b).value == pytest.approx(stats.spearmanr(a, b)[0])
    assert kendall(a, b).value == pytest.approx(stats.kendalltau(a, b)[0])


def test_the_interval_is_that_of_bonett_and_wright() -> None:
    draw = np.random.default_rng(1)
    a = draw.normal(size=50)
    one = spearman(a, a + draw.normal(size=50))
    half = 1.959964 * math.sqrt((1 + one.value**2 / 2) / 47)
    assert math.atanh(one.high) - math.atanh(one.value) == pytest.approx(half)
    assert math.atanh(one.value) - math.atanh(one.low) == pytest.approx(half)


def test_a_failure_is_below_every_score() -> None:
    early = np.array([1.0, 2.0, 3.0, -np.inf, -np.inf, 4.0])
    assert spearman(early, early).value == 1.0


def test_order_in_all_and_among_the_best() -> None:
    """Of 20 designs the best four stand in the reverse order early on; the others as at the end."""
    last = np.arange(20.0)
    early = last.copy()
    early[16:] = early[16:][::-1]
    found = RankFidelity(np.array([0.5, 1.0]), np.stack([early, last], 1)).rungs[0]
    assert found.spearman.value == pytest.approx(1 - 6 * (9 + 1 + 1 + 9) / (20 * 399))
    assert (found.top_spearman.value, found.top_kendall.value) == (-1.0, -1.0)
    assert found.top_spearman.count == 4


def test_what_is_foreseen_of_power_laws_is_exact() -> None:
    """a - b / s: from half to all of a share the rise is b / s, and b / s - b is left."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(40, 1)), draw.uniform(0.1, 2, (40, 1))
    gains = a - b / QUARTERS
    found = RankFidelity(QUARTERS, gains[:30])
    assert found.rungs[1].lead == pytest.approx(0.5)  # (1 - 0.5) / (2 - 1)
    assert found.foreseen(1, gains[30:, :2]) == pytest.approx(gains[30:, 3])
    assert found.rungs[1].spread == pytest.approx(0, abs=1e-6)
    chances = found.chances(1, gains[30:, :2])
    assert chances[gains[30:, 3].argmax()] == pytest.approx(1.0)


def test_chances_are_even_where_nothing_is_known() -> None:
    found = RankFidelity(QUARTERS, np.tile(QUARTERS, (10, 1)))
    assert found.chances(0, np.full((4, 1), np.nan)).tolist() == [0.25] * 4


def perfect(n: int = 40) -> RankFidelity:
    return RankFidelity(QUARTERS, np.arange(float(n))[:, None] + QUARTERS)


def test_where_early_order_is_the_last_one_few_go_on() -> None:
    placed = plan_rungs(perfect(), 16)
    assert placed.shares[0] == 0.25 and placed.reach[0] == 16
    assert placed.cost <= 0.4 and placed.held == 1.0 and placed.loss == 0.0 < placed.blind
    assert placed.trusted


def test_where_early_order_is_chance_that_is_said() -> None:
    draw = np.random.default_rng(0)
    placed = plan_rungs(RankFidelity(QUARTERS, draw.normal(size=(200, 4))), 16)
    assert placed.cost <= 0.4
    assert placed.loss > 0.8 * placed.blind  # 16 at a quarter leave fewer to train whole
    reversed_ = np.arange(40.0)[:, None] * np.array([-1.0, -0.5, 0.1, 1.0])
    assert not plan_rungs(RankFidelity(QUARTERS, reversed_), 16).trusted


def test_the_cost_counts_what_a_promotion_still_needs() -> None:
    """8 to a half and 2 of them to the end: (8 * 0.5 + 2 * 0.5) / 8."""
    assert RungPlan((0.5, 1.0), (8, 2), 0, 1, 0, 0).cost == 0.625
    assert RungPlan((0.5, 1.0), (8, 2), 0, 1, 0, 0).ratios == (0.25,)


def test_survivors_are_the_best_at_each_rung() -> None:
    gains = np.array([[3.0, 0, 9, 9], [2, 5, 0, 0], [1, 9, 9, 9], [4, 4, 0, 1]])
    left = survivors(RankFidelity(QUARTERS, gains[:0]), gains, (0.25, 0.5, 1.0), (4, 3, 1))
    assert left.tolist() == [1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RankFidelity(QUARTERS, np.zeros((3, 3))), "a row of as many gains"),
        (lambda: RankFidelity(QUARTERS[:3], np.zeros((3, 3))), "must be 1, the whole training"),
        (lambda: plan_rungs(perfect(), 0), "at least one design and a cost"),
        (lambda: plan_rungs(perfect(4), 8), "at least 8 designs trained to their end"),
        (lambda: ASHA(rungs="thirds").check(), "'powers' or 'measured'; got 'thirds'"),
        (lambda: ASHA(whole=7).check(), "whole of at least 8 points"),
        (lambda: ASHA(rungs="measured", stage="Pretrain").check(), "the last stage alone"),
    ],
)
def test_errors_say_what_must_hold(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_curves_are_a_fold_by_point() -> None:
    a, b, c = ({"x": v} for v in (0.1, 0.2, 0.3))
    rung = {"step": 1, "fraction": 0.5, "annealed": False}
    events = [
        asked(0, 0, a, share=0.5),
        Event(1, "rung", 0, {**rung, "score": 1.0}),
        Event(2, "told", 0, {"score": 1.0, "status": "finished", "share": 0.5}),
        asked(3, 1, a),  # its promotion
        Event(4, "told", 1, {"score": 3.0, "status": "finished"}),
        asked(5, 2, b, share=0.5),
        Event(6, "told", 2, {"score": 2.0, "status": "finished", "share": 0.5}),
        asked(7, 3, c),
        Event(8, "rung", 3, {**rung, "score": 5.0}),
        told(9, 3, None),
    ]
    shares, gains = Curves("higher", events).table()
    assert shares.tolist() == [0.5, 1.0]
    assert np.array_equal(gains, [[1, 3], [2, np.nan], [5, -np.inf]], equal_nan=True)
    assert np.array_equal(Curves("lower", events).table()[1][0], [-1, -3])


def test_checkpoints_that_nobody_shares_are_read_at_tenths() -> None:
    events: list[Event] = []
    for trial, share in enumerate((0.31, 0.32, 0.33, 0.34)):
        events.append(asked(len(events), trial, {"x": share}))
        body = {"step": 1, "fraction": share, "score": share, "annealed": False}
        events.append(Event(len(events), "rung", trial, body))
        events.append(told(len(events), trial, 1.0))
    shares, gains = Curves("higher", events).table()
    assert shares.tolist() == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert gains[:, 0].tolist() == [0.31, 0.32, 0.33, 0.34]


def drive(search: Search, trials: int, order: str = "faithful") -> list[Event]:
    """Trainings whose order is clear at each quarter, or that turn over at the end."""
    events: list[Event] = []

    def hear(kind: str, trial: int, **body: Any) -> None:
        events.append(Event(len(events), kind, trial, body))
        search.hear(events[-1])

    for trial in range(trials):
        point = search.ask(trial)
        share = search.share(point)
        hear("asked", trial, point=point, attempt=0, **({"share": share} if share < 1 else {}))
        x, score = point["x"], 0.0
        for quarter in QUARTERS[share >= QUARTERS]:
            turned = order == "turned" and quarter < 1
            score = float((1 - x if turned else x) * quarter)
            hear("rung", trial, step=1, fraction=float(quarter), score=score, annealed=False)
        part = {"share": share} if share < 1 else {}
        hear("told", trial, score=score, status="finished", **part)
    return events


@pytest.mark.parametrize(
    "searcher",
    [
        ASHA(RandomSearch(), rungs="measured"),
        SuccessiveHalving(RandomSearch(), rungs="measured", configurations=27),
    ],
)
def test_measured_rungs_are_placed_once_whole_trainings_have_ended(searcher: Any) -> None:
    search = Distinct(searcher).begin(LINE)
    events = drive(search, 120)
    shares = [e.body.get("share", 1.0) for e in events if e.kind == "asked"]
    assert all(share == 1.0 for share in shares[:12])
    assert min(shares[12:]) == 0.25 and 1.0 in shares[12:]
    begun = sum(share == 0.25 for share in shares)
    assert begun > 0.6 * (len(shares) - 12)
    again = Distinct(searcher).begin(LINE)
    for event in events:
        again.hear(event)
    assert again.ask(120) == search.ask(120)
    best: dict[str, float] = {}
    for e in events:
        if e.kind == "asked":
            key = canonical(e.body["point"])
            best[key] = max(best.get(key, 0.0), e.body.get("share", 1.0))
    top = max((k for k in best), key=lambda k: float(k.split(":")[1].rstrip("}")))
    assert best[top] > 0.25  # what leads goes on


def test_where_order_turns_over_no_rungs_are_placed() -> None:
    search = ASHA(RandomSearch(), rungs="measured").begin(LINE)
    events = drive(search, 30, "turned")
    assert all("share" not in e.body for e in events if e.kind == "asked")
    assert isinstance(search, HalvingSearch) and search.look == math.ceil(1.5 * 27)


def test_without_scores_on_the_way_all_run_whole() -> None:
    search = ASHA(RandomSearch(), rungs="measured").begin(LINE)
    for trial in range(30):
        search.hear(asked(2 * trial, trial, search.ask(trial)))
        search.hear(told(2 * trial + 1, trial, search.points[trial]["x"]))
    assert search.share(search.ask(30)) == 1.0
