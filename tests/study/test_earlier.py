"""Earlier studies: what is taken over onto an edited space, and that no folder is needed then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.study.spaces import tiny
from vitruvius.search import SMBO, Event, RandomSearch, Transfer, asked, told
from vitruvius.space import compile, one_of, where
from vitruvius.study.budget import Budget
from vitruvius.study.earlier import MOST, agreeing, comparable, earlier_word, taken_over
from vitruvius.study.folder import StudyError
from vitruvius.study.journal import Journal
from vitruvius.study.settings import JOURNAL, Final
from vitruvius.study.study import Study, reopen
from vitruvius.study.trials import Summary, summary

Row = tuple[dict[str, Any], float | None]


def written(folder: Path, rows: list[Row], better: str = "higher") -> Path:
    """The folder of a study with these points and scores."""
    folder.mkdir(parents=True)
    with Journal(folder / JOURNAL) as journal:
        journal.append("study", 0, {"metric": "accuracy", "better": better})
        for number, (point, score) in enumerate(rows, 1):
            status = "failed" if score is None else "finished"
            journal.append("asked", number, {"point": point, "attempt": 0})
            end = {"score": score, "status": status, "parameters": 10 * number, "seconds": 1.0}
            journal.append("told", number, end)
    return folder


SPACE: Any = (
    one_of(1, 2, 4, label="a"),
    one_of((one_of("x", "y", label="k"),), ("flat",), label="b"),
    one_of(0.1, 0.2, label="c"),
)
BRANCH = next(d.address for d in compile(SPACE).unfold() if d.address.endswith("k"))


def options() -> list[Any]:
    """Labels of the decision b: the one with a decision inside first."""
    return list(next(d for d in compile(SPACE).unfold() if d.address == "b").domain.labels)  # type: ignore[attr-defined]


def test_what_agrees_is_kept_and_what_does_not_is_dropped(tmp_path: Path) -> None:
    deep, flat = options()
    rows: list[Row] = [
        ({"a": 2, "b": deep, BRANCH: "x", "c": 0.1}, 0.5),  # all agrees
        ({"a": 8, "b": deep, BRANCH: "x", "c": 0.1}, 0.9),  # a has lost a label
        ({"a": 2, "b": flat, "gone": 3, "c": 0.2}, 0.7),  # a decision is gone
        ({"a": 8, "b": "other", "gone": 3, "c": 0.2}, 0.8),  # less than half agrees
        ({"a": 1, "b": flat, "c": 0.2}, None),  # failed
    ]
    body = taken_over(compile(SPACE), written(tmp_path / "old", rows))
    assert [t["trial"] for t in body["trials"]] == [2, 3, 1, 5]  # best first, failed last
    points = {t["trial"]: t["point"] for t in body["trials"]}
    assert points[1] == rows[0][0]
    assert points[2] == {"b": deep, BRANCH: "x", "c": 0.1}
    assert points[3] == {"a": 2, "b": flat, "c": 0.2}
    agrees = {t["trial"]: t["agrees"] for t in body["trials"]}
    assert agrees == {1: 1.0, 2: 0.75, 3: 1.0, 5: 1.0}
    assert body["trials"][-1]["score"] is None and body["trials"][-1]["status"] == "failed"
    assert body["trials"][0]["parameters"] == 20 and body["trials"][0]["seconds"] == 1.0
    assert body["of"] == 5 and body["gone"] == ["gone"] and body["new"] == []
    assert body["from"] == str(tmp_path / "old") and body["better"] == "higher"


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    flat = options()[1]
    rows: list[Row] = [({"a": a, "b": flat, "c": 0.1}, float(a)) for a in (4, 1, 2)]
    body = taken_over(compile(SPACE), written(tmp_path / "old", rows, "lower"))
    assert [t["score"] for t in body["trials"]] == [1.0, 2.0, 4.0]


def together(a: int, c: int) -> bool:
    return a == c


def test_a_point_that_breaks_a_condition_is_left_out() -> None:
    space: Any = (one_of(1, 2, name="a"), one_of(1, 2, name="c"), where(together, "@a", "@c"))
    program = compile(space)
    assert agreeing(program, {"@a": 1, "@c": 1}) == ({"@a": 1, "@c": 1}, 1.0)
    assert agreeing(program, {"@a": 1, "@c": 2}) is None
    assert agreeing(program, {"@a": 1}) == ({"@a": 1}, 0.5)


def test_of_many_trials_some_are_taken_from_the_best_to_the_worst() -> None:
    heard = [Event(1, "study", 0, {"metric": "accuracy", "better": "higher"})]
    for number in range(600):
        heard.append(asked(len(heard) + 1, number, {"a": 1}))
        heard.append(told(len(heard) + 1, number, number / 600))
    tried = comparable(summary(heard))
    assert len(tried) == MOST
    assert tried[0].score == 599 / 600 and tried[-1].score == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], r"has no finished trial\. Leave --from .* out"),
        ([({"a": 1}, None)], r"has no finished trial"),
        ([({"other": 1}, 0.5)], r"shares too few decisions with this space"),
    ],
)
def test_a_study_of_no_use_is_refused(tmp_path: Path, rows: list[Row], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        taken_over(compile(SPACE), written(tmp_path / "old", rows))


def events(folder: Path) -> list[Event]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return journal.read()


def shown(found: Summary) -> list[tuple]:
    return [(t.number, dict(t.point), t.status, t.score) for t in found.trials]


def test_a_study_begins_with_an_earlier_one_and_needs_its_folder_no_more(tmp_path: Path) -> None:
    final = Final(top=1, seeds=0)
    old = Study(tiny(), RandomSearch(seed=1), Budget(trials=4), tmp_path / "old", final=final)
    first = old.run()

    def study(name: str, trials: int) -> Study:
        budget, earlier = Budget(trials=trials), (tmp_path / "old",)
        return Study(tiny(), SMBO(), budget, tmp_path / name, seed=1, final=final, earlier=earlier)

    whole = study("a", 5).run()
    best = [dict(t.point) for t in first.leaders[:3]]
    assert [dict(t.point) for t in whole.trials[:3]] == best
    assert whole.meta["searcher"]["node"].endswith(":Transfer")
    assert earlier_word(whole) == [f"Took over 4 of 4 trials from {tmp_path / 'old'}."]
    journal = events(tmp_path / "a")
    assert [e.kind for e in journal[:3]] == ["study", "earlier", "started"]

    with pytest.raises(StudyError, match="has another searcher"):
        Study(tiny(), SMBO(), Budget(trials=5), tmp_path / "a", seed=1, final=final).run()

    for name, last in (("b", 1), ("c", next(e.sequence for e in journal if e.kind == "told"))):
        (tmp_path / name).mkdir()
        with Journal(tmp_path / name / JOURNAL) as copy:  # killed at the very start, and later
            for event in journal[:last]:
                copy.append(event.kind, event.trial, event.body)
    assert shown(study("b", 5).run()) == shown(whole)
    assert [e.kind for e in events(tmp_path / "b")[:2]] == ["study", "earlier"]
    shutil.rmtree(tmp_path / "old")
    resumed = reopen(tmp_path / "c")
    assert resumed.searcher == Transfer(SMBO())
    assert shown(resumed.run()) == shown(whole)


def test_a_folder_without_a_study_leaves_nothing_behind(tmp_path: Path) -> None:
    begun = Study(tiny(), SMBO(), Budget(trials=2), tmp_path / "s", earlier=(tmp_path / "none",))
    with pytest.raises(StudyError, match="holds no study"):
        begun.run()
    assert list(tmp_path.iterdir()) == []
