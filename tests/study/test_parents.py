"""In a study a trial begins with the nearest ended one: a fold over its events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.saving import DESIGN
from vitruvius.pipeline.training import OVERLAP, Train
from vitruvius.search import Search, Searcher
from vitruvius.search.history import Event
from vitruvius.search.searcher import Better, Costs
from vitruvius.space import Point, compile, one_of
from vitruvius.study import parents
from vitruvius.study.budget import Budget
from vitruvius.study.journal import Journal
from vitruvius.study.report import render
from vitruvius.study.settings import JOURNAL
from vitruvius.study.study import Final, Study
from vitruvius.study.trials import Summary, to_json
from vitruvius.techniques.layers import Affine, Flatten, ReLU, Sequential


@dataclass(frozen=True)
class InTurn(Searcher):
    """These widths, one after the other."""

    widths: tuple[int, ...] = (8, 32, 12, 6)

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Turn(self, space, better)


class _Turn(Search):
    def propose(self, draw: Random, costs: Costs | None) -> Point:
        assert isinstance(self.searcher, InTurn)
        first = self.program.sample(draw)
        return {next(iter(first)): self.searcher.widths[len(self.points)]}


def space(**fields: Any) -> Pipeline:
    network = Sequential(Flatten(), Affine(one_of(6, 8, 12, 32)), ReLU(), Affine(10))
    train = Train(model=network, **{"epochs": 1, **fields})
    return Pipeline(Load("digits"), train, Evaluate())


def study(folder: Path, trials: int = 4, **fields: Any) -> Summary:
    found = Study(
        space(**fields),
        InTurn(),
        Budget(trials=trials),
        folder,
        final=Final(top=1, seeds=0),
        modules=("tests",),
    )
    return found.run()


def events(folder: Path) -> list[Event]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return journal.read()


def asked(folder: Path) -> list[Any]:
    return [e.body.get("parent") for e in events(folder) if e.kind == "asked"]


def test_the_journal_names_the_nearest_ended_trial(tmp_path: Path) -> None:
    first = study(tmp_path / "a", inherit=0.8)
    told = asked(tmp_path / "a")
    assert told[0] is None and told[1] == {"trial": 1, "overlap": 1.0}
    assert told[2] == told[1] and told[3] is None  # narrower than all of them
    scores = [dict(trial.scores) for trial in sorted(first.trials, key=lambda t: t.number)]
    assert [OVERLAP in score for score in scores] == [False, True, True, False]
    assert "parent" in (tmp_path / "a" / "trials" / "0002" / DESIGN).read_text()
    told_of = {trial.number: trial.parent for trial in first.trials}
    assert list(told_of.values()) == told
    written = {trial["number"]: trial.get("parent") for trial in to_json(first)["trials"]}
    assert written == told_of
    page = render(first)
    assert "2 trials began with the weights of an earlier one, for 100 % of their" in page
    assert "from #1</small>" in page
    again = study(tmp_path / "b", inherit=0.8)
    assert [t.score for t in again.trials] == [t.score for t in first.trials]
    assert asked(tmp_path / "b") == told


def test_without_inherit_nothing_is_named(tmp_path: Path) -> None:
    study(tmp_path, 2)
    assert asked(tmp_path) == [None, None]


def test_a_study_that_stopped_goes_on_with_the_same_parents(tmp_path: Path) -> None:
    whole = study(tmp_path / "whole", 3, inherit=0.8)
    study(tmp_path / "parts", 1, inherit=0.8)
    found = study(tmp_path / "parts", 3, inherit=0.8)
    assert [t.score for t in found.trials] == [t.score for t in whole.trials]
    assert asked(tmp_path / "parts") == asked(tmp_path / "whole")


def test_a_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parents, "GENERATIONS", 2)
    study(tmp_path, 3, inherit=0.5)
    assert [None if told is None else told["trial"] for told in asked(tmp_path)] == [None, 1, 1]


def test_a_point_that_goes_on_keeps_its_parent_and_a_parent_its_rung() -> None:
    tree = space(inherit=0.8, epochs=4)
    around: Any = SimpleNamespace(
        settings=SimpleNamespace(space=tree),
        program=compile(tree),
        search=SimpleNamespace(stage=None),
        meta={"better": "higher"},
    )
    fold = parents.Parents(around)
    small, large = ({around.program.sample(Random(0)).popitem()[0]: width} for width in (8, 32))
    told = {"trial": 1, "overlap": 1.0}
    bodies: list[tuple[str, int, dict[str, Any]]] = [
        ("asked", 1, {"point": small}),
        ("told", 1, {"status": "finished", "score": 0.5, "state": "a", "share": 0.5}),
        ("asked", 2, {"point": large, "parent": told}),
        ("told", 2, {"status": "finished", "score": 0.6, "state": "b", "share": 0.5}),
    ]
    for sequence, (kind, trial, body) in enumerate(bodies, 1):
        fold.hear(Event(sequence, kind, trial, body))
    assert fold.choose(small) is None and fold.choose(large) == told
    stage = fold.design(large, fold.of(2)).stages[1]  # type: ignore[attr-defined]
    assert stage.until is None and stage.parent.stages[1].until == 2
    assert stage.parent.stages[1].parent is None and len(stage.parent.stages) == 2
