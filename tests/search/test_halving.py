"""ASHA and successive halving: the right points climb, once, whoever ends first."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.search import (
    ASHA,
    SMBO,
    Distinct,
    Event,
    Exhausted,
    Exhaustive,
    RandomSearch,
    Search,
    Searcher,
    SuccessiveHalving,
    ask,
    asked,
    told,
)
from vitruvius.search.halving import HalvingSearch
from vitruvius.space import Point, canonical, one_of, uniform

SPACE: Any = tuple(one_of(*range(8), label=f"x{i}") for i in range(3))
LINE: Any = (uniform(0, 1, label="x"),)
THIRDS = (1 / 9, 1 / 3, 1.0)


@pytest.mark.parametrize(
    ("eta", "least", "shares"),
    [
        (3, 1 / 9, THIRDS),
        (3, 0.1, THIRDS),
        (2, 0.25, (0.25, 0.5, 1.0)),
        (4, 0.2, (0.25, 1.0)),
        (3, 1 / 27, (1 / 27, *THIRDS)),
    ],
)
def test_shares_are_powers_down_to_the_least(eta: int, least: float, shares: Any) -> None:
    assert ASHA(eta=eta, least=least).shares == pytest.approx(shares)


class Script:
    """A search that is told what to hear, and the events it heard."""

    def __init__(self, searcher: Searcher, space: Any = LINE) -> None:
        self.searcher, self.space = searcher, space
        self.search: Search = searcher.begin(space)
        self.events: list[Event] = []
        self.trials = 0

    def begin(self) -> tuple[int, Point, float]:
        point = self.search.ask(self.trials)
        share = self.search.share(point)
        self.hear(asked(len(self.events), self.trials, point, share=share))
        self.trials += 1
        return self.trials - 1, point, share

    def end(self, trial: int, score: float | None) -> None:
        self.hear(told(len(self.events), trial, score))

    def lose(self, trial: int) -> None:
        self.hear(Event(len(self.events), "lost", trial))

    def hear(self, event: Event) -> None:
        self.events.append(event)
        self.search.hear(event)


def test_a_promotion_comes_as_soon_as_there_is_one() -> None:
    """Li et al. 2020, algorithm 2, by hand: eta = 3, rungs 1/9, 1/3 and 1."""
    script = Script(ASHA(RandomSearch()))
    points = {}
    for score in (0.1, 0.5, 0.3):
        trial, points[score], share = script.begin()
        assert share == THIRDS[0]
        script.end(trial, score)
    trial, point, share = script.begin()
    assert (point, share) == (points[0.5], THIRDS[1])  # the best of three
    later = [script.begin() for _ in range(3)]  # nobody waits for it
    assert [share for _, _, share in later] == [THIRDS[0]] * 3
    for (other, *_), score in zip(later, (0.9, 0.8, 0.2), strict=True):
        script.end(other, score)
    _, point, share = script.begin()  # the best two of six: one of them is promoted already
    assert (point, share) == (later[0][1], THIRDS[1])
    _, point, share = script.begin()
    assert (point, share) == (later[1][1], THIRDS[1])
    assert script.begin()[2] == THIRDS[0]
    script.end(trial, 0.5)
    assert script.begin()[2] == THIRDS[0]  # one of one is not a third
    script.end(7, 0.6)
    script.end(8, 0.7)
    _, point, share = script.begin()
    assert (point, share) == (later[1][1], 1.0)  # the best of three at a third


def test_of_equal_scores_the_first_goes_on_whatever_the_order_of_their_ends() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        script = Script(ASHA(RandomSearch()))
        begun = [script.begin() for _ in range(3)]
        for trial in order:
            script.end(trial, 0.5)
        assert script.begin()[1] == begun[0][1]


def test_what_failed_fills_a_rung_and_is_never_promoted() -> None:
    script = Script(ASHA(RandomSearch()))
    for _ in range(9):
        script.end(script.begin()[0], None)
    assert script.begin()[2] == THIRDS[0]
    assert len(script.events) == 19


def test_a_promotion_that_was_lost_comes_again() -> None:
    for searcher in (ASHA(RandomSearch()), SuccessiveHalving(RandomSearch())):
        script = Script(searcher)
        while (begun := script.begin())[2] == THIRDS[0]:
            script.end(begun[0], script.search.points[begun[0]]["x"])
        script.lose(begun[0])
        _, point, share = script.begin()
        assert (point, share) == begun[1:]


def test_a_promotion_that_was_refused_does_not_come_again() -> None:
    script = Script(ASHA(RandomSearch()))
    while (begun := script.begin())[2] == THIRDS[0]:
        script.end(begun[0], script.search.points[begun[0]]["x"])
    script.hear(Event(99, "rejected", begun[0], {"point": begun[1], "attempt": 0}))
    assert script.search.ask(begun[0], attempt=1) != begun[1]


def test_each_search_inside_hears_one_share() -> None:
    script = Script(ASHA(SMBO(initial=2), enough=4))
    search = script.search
    assert isinstance(search, HalvingSearch)
    for _ in range(60):
        trial, point, _ = script.begin()
        script.end(trial, point["x"])
    counts = Counter(script.search.shares.values())
    for inner, share in zip(search.inner, search.rungs, strict=True):
        assert len(inner.points) == counts[share]
        assert {script.search.shares[t] for t in inner.points} == {share}
    assert search._model() is search.inner[2]  # BOHB: the highest with enough
    assert counts[1.0] >= 4


def test_the_model_is_that_of_the_highest_share_with_enough_scores() -> None:
    search = ASHA(SMBO(), enough=2).begin(LINE)
    assert isinstance(search, HalvingSearch)
    at = [search.inner.index(search._model())]
    for trial, (share, score) in enumerate(
        [(THIRDS[0], 0.1), (THIRDS[1], None), (THIRDS[1], 0.2), (THIRDS[1], 0.3), (1.0, 0.1)]
    ):
        search.hear(asked(0, trial, {"x": trial / 10}, share=share))
        search.hear(told(0, trial, score))
        at.append(search.inner.index(search._model()))
    assert at == [0, 0, 0, 0, 1, 1]


def test_seeds_add_up() -> None:
    first = [ASHA(RandomSearch(seed=a), seed=b).begin(LINE).ask(0) for a, b in ((3, 0), (1, 2))]
    assert first[0] == first[1] == RandomSearch(seed=3).begin(LINE).ask(0)


def simulate(searcher: Searcher, space: Any, workers: int, runs: int, seed: int) -> Script:
    """Workers that end in any order, fail and die; the promotions are checked as they come."""
    draw, script, running = Random(seed), Script(searcher, space), {}
    ended: dict[float, dict[str, tuple[float, int]]] = {}
    shares = script.search.halving.shares  # type: ignore[attr-defined]
    eta = script.search.halving.eta  # type: ignore[attr-defined]
    for _ in range(runs):
        while len(running) < workers:
            trial, point, share = script.begin()
            key, rung = canonical(point), shares.index(share)
            held = {canonical(p) for t, p in script.search.points.items() if t != trial}
            if rung == 0:
                assert key not in held
            else:  # among the best of those that have ended at the rung before
                before = ended[shares[rung - 1]]
                order = sorted(before.values())
                assert key in before and before[key] in order[: max(1, len(order) // eta)]
                assert before[key][0] < float("inf")
            running[trial] = (key, share)
        trial = draw.choice(sorted(running))
        key, share = running.pop(trial)
        luck = draw.random()
        if luck < 0.1:
            script.lose(trial)
            del script.search.points[trial]  # so that the check above forgets it
            continue
        score = None if luck < 0.2 else round(draw.random(), 1)  # many ties
        script.end(trial, score)
        ended.setdefault(share, {})[key] = (float("inf") if score is None else -score, trial)
    return script


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([(3, 1 / 9), (2, 1 / 4)]))
def test_promotions_form_the_right_rungs(workers: int, seed: int, rungs: Any) -> None:
    eta, least = rungs
    script = simulate(ASHA(RandomSearch(), eta=eta, least=least), SPACE, workers, 60, seed)
    counts = Counter(e.body.get("share", 1.0) for e in script.events if e.kind == "asked")
    assert counts[1.0] < counts[1 / eta] < counts[least] or counts[least] < 20
    once = Counter(
        (canonical(e.body["point"]), e.body.get("share", 1.0))
        for e in script.events
        if e.kind == "asked"
        and not any(o.kind == "lost" and o.trial == e.trial for o in script.events)
    )
    assert set(once.values()) == {1}  # nothing twice at one share


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_a_bracket_promotes_its_share_exactly(workers: int, seed: int) -> None:
    draw, script, running = Random(seed), Script(SuccessiveHalving(RandomSearch())), []
    for _ in range(13 * 4):
        while len(running) < workers:
            running.append(script.begin())
        trial, point, _ = running.pop(draw.randrange(len(running)))
        script.end(trial, point["x"])
    search: Any = script.search
    whole = [b for b in search.over]
    assert len(whole) >= 2
    for number in whole:
        keys = list(search.brackets[number])
        climbed = [[k for k in keys if k in there] for there in search.asked]
        assert [len(rung) for rung in climbed] == [9, 3, 1]
        gains = {k: search.ends[0][k].gain for k in keys}
        assert climbed[2] == [max(keys, key=gains.__getitem__)]
        assert set(climbed[1]) == set(sorted(keys, key=gains.__getitem__)[-3:])


def test_a_bracket_waits_for_its_last_point_and_free_workers_begin_the_next() -> None:
    script = Script(SuccessiveHalving(RandomSearch()))
    begun = [script.begin() for _ in range(9)]
    for trial, point, _ in begun[:8]:
        script.end(trial, point["x"])
    assert script.begin()[2] == THIRDS[0]  # the tenth point
    script.end(8, 0.0)
    best = sorted((p["x"] for _, p, _ in begun[:8]), reverse=True)[:3]
    promoted = [script.begin() for _ in range(3)]
    assert [p["x"] for _, p, _ in promoted] == best
    assert {share for *_, share in promoted} == {THIRDS[1]}
    assert script.begin()[2] == THIRDS[0]


@pytest.mark.parametrize("cls", [ASHA, SuccessiveHalving])
@pytest.mark.parametrize("seed", range(3))
def test_cut_off_anywhere_it_goes_on_as_if_it_had_not_been(cls: Any, seed: int) -> None:
    searcher = cls(SMBO(initial=3), enough=4)
    script = simulate_any(searcher, seed)
    kept = searcher.begin(SPACE)
    for i, event in enumerate(script.events):
        kept.hear(event)
        if i % 3 == 0:  # also between a promotion and what it told
            point = kept.ask(500 + i)
            assert point == ask(searcher, SPACE, script.events[: i + 1], 500 + i)
            assert kept.share(point) in searcher.shares


def simulate_any(searcher: Searcher, seed: int) -> Script:
    draw, script, running = Random(seed), Script(searcher, SPACE), []
    for _ in range(45):
        while len(running) < 3:
            running.append(script.begin())
        trial, point, _ = running.pop(draw.randrange(3))
        if draw.random() < 0.1:
            script.lose(trial)
        else:
            script.end(trial, None if draw.random() < 0.1 else float(sum(point.values())))
    return script


def test_the_last_points_of_a_small_space_go_up_too() -> None:
    """Four points: a third of them is one, and then a third of one is none."""
    space: Any = (one_of(1, 2, 3, 4, label="n"),)
    for searcher in (ASHA(RandomSearch()), SuccessiveHalving(RandomSearch()), ASHA(Exhaustive())):
        script, climbed = Script(Distinct(searcher), space), []
        for _ in range(20):
            try:
                trial, point, share = script.begin()
            except Exhausted:
                break
            climbed.append((point["n"], round(share, 2)))
            script.end(trial, float(point["n"]))
        assert len(climbed) == len(set(climbed))
        assert sorted(n for n, share in climbed if share == 0.11) == [1, 2, 3, 4]
        assert (4, 1.0) in climbed


def test_while_one_still_runs_a_small_rung_waits() -> None:
    space: Any = (one_of(1, 2, label="n"),)
    script = Script(ASHA(RandomSearch()), space)
    first, second = script.begin(), script.begin()
    script.end(first[0], 0.5)
    with pytest.raises(Exhausted):
        script.begin()
    script.end(second[0], 0.9)
    assert script.begin()[1:] == (second[1], THIRDS[1])


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (ASHA, {"eta": 1}, "ASHA.eta must be at least 2; got 1"),
        (
            ASHA,
            {"least": 1.0},
            "ASHA.least must be a share above 0 and at most 1 / eta = 0.333; got 1",
        ),
        (ASHA, {"enough": 0}, "ASHA.enough must be at least 1; got 0"),
        (ASHA, {"tries": 0}, "ASHA.tries must be at least 1; got 0"),
        (ASHA, {"searcher": ASHA()}, "ASHA.searcher must name points for whole trainings; got"),
        (
            SuccessiveHalving,
            {"configurations": 8},
            "SuccessiveHalving.configurations must be at least 9, .* got 8",
        ),
    ],
)
def test_wrong_fields_are_refused(cls: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**fields)
