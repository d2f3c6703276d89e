"""What a study says of its early scores, in the report and the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vitruvius.search.history import Event
from vitruvius.study.foresight import chart, foresight
from vitruvius.study.report import render
from vitruvius.study.terminal import outcome
from vitruvius.study.trials import Summary, summary
from vitruvius.testing.studies import made_up_events


def study(orders: list[tuple[int, int]], rung: bool = True, better: str = "higher") -> Summary:
    """Designs with a place at half of the training and one at its end; two more stand at a rung."""
    events = [Event(0, "study", -1, {"metric": "accuracy", "better": better})]
    sign = 1 if better == "higher" else -1

    def add(kind: str, trial: int, **body: object) -> None:
        events.append(Event(len(events), kind, trial, body))

    for trial, (early, last) in enumerate(orders):
        add("asked", trial, point={"x": trial})
        add("rung", trial, step=1, fraction=0.5, score=sign * early / 100, annealed=False)
        add("told", trial, score=sign * last / 100, status="finished")
    for trial in range(len(orders), len(orders) + 2 * rung):
        add("asked", trial, point={"x": trial}, share=0.5)
        add("told", trial, score=sign * -1.0, status="finished", share=0.5)
    return summary(events)


def said(found: Summary) -> str:
    console = Console(width=2000, record=True, file=io.StringIO())
    console.print(outcome(found))
    return console.export_text()


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_faithful_scores_can_be_trusted(better: str) -> None:
    found = foresight(study([(i, i) for i in range(30)], better=better))
    assert found is not None and found.plan is not None
    assert found.verdict.startswith("Early scores can be trusted: after 50 % of the training")
    assert "30 designs agrees with the last one at rho 1.00" in found.verdict
    assert "Of 2 designs that stood still at a rung nobody knows the end" in found.verdict
    assert (found.designs, found.dropped, found.first) == (30, 2, 0.5)


def test_scores_that_turn_over_cannot_be_trusted_and_all_views_say_so() -> None:
    turned = study([(30 - i, i) for i in range(30)])
    found = foresight(turned)
    assert found is not None
    assert found.verdict.startswith("Early scores cannot be trusted here: ")
    assert "rho -1.00 (-1.00 to -1.00)" in found.verdict
    assert "train designs whole" in found.verdict
    assert found.verdict in render(turned)
    assert found.verdict in said(turned)


def test_an_order_that_is_lost_among_the_best_is_told_apart() -> None:
    mixed = [(i, i) for i in range(24)] + [(29 - i, 24 + i) for i in range(6)]
    found = foresight(study(mixed))
    assert found is not None
    assert found.verdict.startswith("Early scores tell the bad designs from the good, not the best")
    assert "among the best fifth at -1.00" in found.verdict


def test_too_few_designs_tell_nothing() -> None:
    found = foresight(study([(i, i) for i in range(5)]))
    assert found is not None and found.plan is None and chart(found) is None
    assert "5 designs with scores on the way ended, and it takes at least 8" in found.verdict


def test_a_study_without_rungs_says_nothing_in_the_terminal() -> None:
    events = made_up_events()
    whole = summary(events)
    found = foresight(whole)
    assert found is not None and found.dropped == 0 and found.steps.startswith("all ")
    assert "What early scores tell" in render(whole)
    assert "Early scores" not in said(whole)
    bare = summary([e for e in events if e.kind != "rung"])
    assert foresight(bare) is None and "What early scores tell" not in render(bare)
