"""Several objectives of a study: the front, its volume, the choice, and what is shown of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.study.spaces import tiny
from vitruvius.search import SMBO, Chebyshev, RandomSearch
from vitruvius.search.history import Event
from vitruvius.study.budget import Budget
from vitruvius.study.front import (
    contenders,
    cost_word,
    dominated_share,
    front_of,
    hypervolume,
    rule,
    undominated,
)
from vitruvius.study.journal import Journal
from vitruvius.study.report import render
from vitruvius.study.settings import JOURNAL, Final, StudyError, asking
from vitruvius.study.study import Study, reopen
from vitruvius.study.terminal import outcome
from vitruvius.study.trials import Summary, summary
from vitruvius.testing.studies import made_up_events


def by_hand(costs: np.ndarray) -> list[bool]:
    """Dominance pair by pair; of equal rows the first."""
    kept = []
    for i, row in enumerate(costs):
        beaten = any(
            ((other <= row).all() and (other < row).any()) or ((other == row).all() and j < i)
            for j, other in enumerate(costs)
        )
        kept.append(not beaten)
    return kept


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("values", [4, 1000])  # few values: many rows are equal in a column
def test_the_front_is_what_pairwise_comparison_gives(columns: int, values: int) -> None:
    rng = np.random.default_rng(columns)
    for count in (1, 2, 7, 60):
        costs = rng.integers(values, size=(count, columns)).astype(float)
        assert undominated(costs).tolist() == by_hand(costs)


def test_volumes_that_can_be_worked_out_by_hand() -> None:
    assert hypervolume(np.array([[1.0, 1.0]]), (3.0, 2.0)) == 2.0
    stairs = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])
    assert hypervolume(stairs, (3.0, 3.0)) == 3 + 2 + 1
    assert hypervolume(np.array([[0.0, 0.0, 0.0]]), (2.0, 3.0, 4.0)) == 24.0
    two = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    assert hypervolume(two, (2.0, 2.0, 2.0)) == 2 * 1 * 1 + 1 * 2 * 2 - 1 * 1 * 1
    assert hypervolume(np.array([[3.0, 0.0]]), (3.0, 3.0)) == 0.0
    assert hypervolume(np.array([[2.0]]), (5.0,)) == 3.0
    assert hypervolume(np.zeros((0, 2)), (1.0, 1.0)) == 0.0


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_volumes_are_those_of_random_points_that_are_dominated(columns: int) -> None:
    rng = np.random.default_rng(columns)
    costs = rng.random((25, columns))
    thrown = rng.random((200_000, columns))
    dominated = np.zeros(len(thrown), bool)
    for row in costs:
        dominated |= (row <= thrown).all(axis=1)
    exact = hypervolume(costs, np.ones(columns))
    assert exact == pytest.approx(dominated.mean(), abs=0.005)
    assert exact == pytest.approx(hypervolume(costs[undominated(costs)], np.ones(columns)))


def test_the_share_is_of_the_box_and_costs_count_by_ratio() -> None:
    costs = np.array([[0.0, 1000.0], [0.5, 10.0], [1.0, 1.0]])
    assert dominated_share(costs) == pytest.approx((1 - 1 / 3) * 0.5)
    assert dominated_share(np.array([[0.3, 5.0]])) == 1.0


def events(also: tuple[str, ...] = ("parameters", "seconds"), **more: Any) -> list[Event]:
    found = made_up_events(28, seed=2, **more)
    meta = {**found[0].body, "also": list(also)}
    return [Event(1, "study", -1, meta), *found[1:]]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_front_of_a_study(better: str) -> None:
    study = summary(events(better=better))
    front = front_of(study)
    assert front is not None and 0 < front.hypervolume <= 1
    sign = 1 if better == "higher" else -1
    known = study.of("finished")
    for trial in known:
        beaten = any(
            sign * (o.score or 0) >= sign * (trial.score or 0)
            and o.parameters <= trial.parameters  # type: ignore[operator]
            and o.seconds <= trial.seconds  # type: ignore[operator]
            and o.number != trial.number
            for o in known
        )
        assert (trial.number in front.numbers) is not beaten
    scores = [t.score for t in front.trials]
    assert scores == sorted(scores, reverse=better == "higher")
    assert study.best is not None and front.trials[0].score == study.best.score
    assert front_of(summary(events(also=()))) is None
    assert front_of(summary(events()[:1])) is None


def test_the_choice_keeps_to_its_limits_or_says_that_none_does() -> None:
    study = summary(events())
    sizes = sorted(t.parameters or 0 for t in study.leaders)
    limits = {"parameters": float(sizes[len(sizes) // 2])}
    found = contenders(study, limits)
    within = [t for t in study.leaders if (t.parameters or 0) <= limits["parameters"]]
    assert list(found) == within and len(within) < len(study.leaders)
    assert rule(study, limits) == f"the best accuracy with parameters <= {limits['parameters']:g}"
    none = {"parameters": sizes[0] / 2, "seconds": 1e9}
    assert contenders(study, none)[0].parameters == sizes[0]
    assert rule(study, none).startswith("no design has parameters <= ")
    assert rule(study, none).endswith("and seconds <= 1e+09: the one that is nearest")
    assert contenders(study, {}) == study.leaders and rule(study, {}) == "the best accuracy"


def shown(study: Summary) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(outcome(study))
    return captured.get()


def test_the_terminal_lists_the_front() -> None:
    study = summary(events())
    front, text = front_of(study), shown(summary(events()))
    assert front is not None
    assert f"(hypervolume {front.hypervolume:.3f})" in text
    assert "that no other beats in accuracy against parameters and seconds" in text
    assert "hypervolume" not in shown(summary(events(also=())))


def test_the_report_draws_the_front() -> None:
    study = summary(events())
    front, page = front_of(study), render(study)
    assert front is not None
    assert page.count('class="onfront"') == 2 * len(front.trials)
    assert f"{front.hypervolume:.3f} of the box" in page
    assert 'href="#front"' in page and 'id="front"' in page
    assert 'id="front"' not in render(summary(events(also=())))


def test_costs_as_they_are_read() -> None:
    assert cost_word("parameters", 12_345) == "12.3 k"
    assert cost_word("flops", 2e9) == "2 GFLOP"
    assert cost_word("latency", 0.00123) == "1.2300 ms" and cost_word("latency", None) == "-"
    assert cost_word("seconds", 8.1) == "8.1 s"


def test_a_study_with_objectives_ends_with_one_choice_and_goes_on_as_it_was(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "space": tiny(),
        "searcher": SMBO(seed=1, initial=2),
        "final": Final(top=1, seeds=1, at_most={"parameters": 800}),
        "also": ("parameters", "latency"),
    }
    whole = Study(folder=tmp_path / "a", budget=Budget(trials=5), **given).run()
    front, final = front_of(whole), whole.final
    assert front is not None and final is not None
    assert all(t.latency and 0 < t.latency < 5 for t in whole.of("finished"))
    assert final["front"]["trials"] == front.to_json()["trials"]
    chosen = next(t for t in whole.trials if t.number == final["trial"])
    within = [t for t in whole.leaders if (t.parameters or 0) <= 800]
    if within:
        assert chosen == within[0] and final["rule"] == "the best accuracy with parameters <= 800"
    else:
        assert final["rule"].startswith("no design has parameters <= 800")
    assert final["opened"] == 1
    again = reopen(tmp_path / "a")
    assert again.also == ("parameters", "latency") and again.final.at_most == {"parameters": 800}
    assert again.searcher == Chebyshev(SMBO(seed=1, initial=2), ("parameters", "latency"))
    assert asking(again) == again.searcher
    with Journal(tmp_path / "a" / JOURNAL, read_only=True) as journal:
        known = journal.read()
    last = Event(0, "", 0)
    for event in known:
        last = event if event.kind == "told" else last
    cut = [e for e in known if e.sequence < last.sequence]
    (tmp_path / "b").mkdir()
    with Journal(tmp_path / "b" / JOURNAL) as journal:
        for event in cut:
            journal.append(event.kind, event.trial, event.body)
    resumed = reopen(tmp_path / "b").run()
    assert [t.point for t in resumed.trials] == [t.point for t in whole.trials]
    with pytest.raises(StudyError, match="has another searcher"):
        Study(folder=tmp_path / "a", budget=Budget(trials=5), **{**given, "also": ()}).run()


def test_unknown_costs_and_limits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Study\.also names costs .*; got 'parameter'\. Did you"):
        Study(
            space=tiny(), searcher=RandomSearch(), folder=tmp_path / "s", also=("parameter",)
        ).run()
    with pytest.raises(ValueError, match=r"Final\.at_most names costs of a design"):
        Final(at_most={"size": 3})
    with pytest.raises(ValueError, match=r"parameters must have a limit above 0; got 0"):
        Final(at_most={"parameters": 0})
