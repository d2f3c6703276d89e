"""The terminal view: at most 80 wide, plain lines in a pipe, the right numbers."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from vitruvius.running import Result
from vitruvius.study.terminal import (
    View,
    best_so_far,
    leaderboard,
    plain,
    progress,
    sparkline,
    watching,
)
from vitruvius.study.trials import Summary, summary
from vitruvius.testing.studies import made_up_events

EVENTS = made_up_events(30, seed=3)


def states() -> list[Summary]:
    return [summary(EVENTS[:i]) for i in range(1, len(EVENTS) + 1, 25)] + [summary(EVENTS)]


def test_a_pipe_gets_one_plain_line_per_ended_trial() -> None:
    stream = io.StringIO()
    with View(stream) as view:
        for spent, study in enumerate(states()):
            view(study, float(spent))
            view(study, float(spent))
    lines = stream.getvalue().splitlines()
    final = summary(EVENTS)
    ended = final.of("finished", "failed", "stopped")
    assert len([line for line in lines if "] trial " in line]) == len(ended)
    assert "\x1b" not in stream.getvalue()
    assert final.best is not None
    assert any(f"trial {final.best.number}: accuracy" in x and "best so far" in x for x in lines)
    assert lines[-1].startswith("ended: the budget of seconds is spent")


def test_a_terminal_gets_a_picture_that_fits() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)
    ticks = iter(range(10_000))
    with View(console=console, clock=lambda: float(next(ticks))) as view:
        for spent, study in enumerate(states()):
            view.update(study, float(spent))
    for study in states():
        with console.capture() as captured:
            console.print(view.picture(study, 7.0))
        assert all(len(line) <= 80 for line in captured.get().splitlines())
    assert view.live is None
    assert "accuracy" in stream.getvalue() and "ended" in stream.getvalue()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    view = View(console=console)
    view._know(study := summary(EVENTS))
    with console.capture() as captured:
        console.print(view.picture(study, 1.0))
    assert "\x1b[32" not in captured.get() and "\x1b[1;32" not in captured.get()


def test_progress_follows_the_budget_that_binds() -> None:
    study = summary(made_up_events(10, ended=None, running=0))
    done = len(study.of("finished", "failed", "stopped"))

    def said(spent: float, **budget: float) -> tuple[float | None, str]:
        changed = Summary({"budget": budget}, study.trials, study.best, "higher", "m", None, None)
        return progress(changed, spent)

    share, words = said(30.0, seconds=60.0, trials=1000)
    assert share == 0.5 and words == "30 s of 1 min 00 s, 30 s left"
    share, words = said(30.0, seconds=6000.0, trials=2 * done)
    assert share == 0.5 and words == f"{done} of {2 * done} trials, about 30 s left"
    assert said(30.0) == (None, f"{done} trials, 30 s")


def test_best_so_far_never_gets_worse() -> None:
    curve = best_so_far(summary(EVENTS))
    assert curve == sorted(curve) and curve[-1] == summary(EVENTS).best.score  # type: ignore[union-attr]
    lower = best_so_far(summary(made_up_events(30, better="lower")))
    assert lower == sorted(lower, reverse=True)


def test_sparkline_spans_lowest_to_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert len(sparkline(list(range(1000)), 40)) == 40
    assert sparkline([], 5) == "" and sparkline([2.0], 5) == "▁"


def test_outcome_fits_and_tells_the_test_score(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("x")
    study = summary(EVENTS)
    text = plain(study, tmp_path, 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert study.final is not None and f"test accuracy {study.final['test']['score']:.4f}" in (
        " ".join(text.split()).replace("test  ", "test ")
    )
    assert "report:" in text
    assert "No trial has finished" in plain(summary(EVENTS[:2]))


def test_a_result_is_told_in_words(tmp_path: Path) -> None:
    study = summary(EVENTS)
    result = Result(tmp_path, study)
    assert str(result) == plain(study, tmp_path)
    best = study.leaders[0]
    tried = len(study.of("finished", "failed", "stopped", "running"))
    assert repr(study) == (
        f"<Summary of {study.meta['source']}: {tried} trials, "
        f"best {best.number} with accuracy {best.score:.4f}>"
    )
    assert repr(result) == f"<Result {str(tmp_path)!r}: {study!r}>"
    assert repr(summary(EVENTS[:2])) == f"<Summary of {study.meta['source']}: 1 trial>"


def test_outcome_describes_the_chosen_design_and_tells_of_failures() -> None:
    study = summary(EVENTS)
    assert study.final is not None
    second = dict(study.final) | {"trial": study.leaders[1].number}
    other = Summary(
        study.meta, study.trials, study.best, study.better, study.metric, study.ended, second
    )
    lines = plain(other, width=200).splitlines()
    assert any(line.startswith(f"Trial {study.leaders[1].number}: ") for line in lines)
    failed = study.of("failed", "stopped")[-1]
    assert any(f"Trial {failed.number} {failed.status}: {failed.cause}" in line for line in lines)


def test_leaderboard_takes_user_text_literally() -> None:
    events = made_up_events(3, running=0, failing=0.0)
    study = summary(events)
    odd = Summary(study.meta, study.trials, study.best, "higher", "[red]m[/]", None, None)
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(leaderboard(odd))
    assert "[red]m[/]" in captured.get()


def test_quiet_watches_nothing() -> None:
    with watching(quiet=True) as views:
        assert views == []
