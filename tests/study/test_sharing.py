"""Studies through a store: what is shared is computed once, counted once, and costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from typer.testing import CliRunner

from tests.study.spaces import tiny
from vitruvius.cli import app
from vitruvius.pipeline.store import Store
from vitruvius.search import Search, Searcher
from vitruvius.search.history import Event
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Better, Costs
from vitruvius.space import Point, canonical
from vitruvius.study.budget import Budget, speed, spent
from vitruvius.study.journal import Journal
from vitruvius.study.settings import JOURNAL
from vitruvius.study.study import Final, Study, reopen

NO_FINAL = Final(top=1, seeds=1)


def study(folder: Path, searcher: Searcher | None = None, **fields: Any) -> Study:
    budget = fields.pop("budget", Budget(trials=fields.pop("trials", 3)))
    asking = searcher or RandomSearch(seed=1)
    return Study(tiny(), asking, budget, folder, final=NO_FINAL, **fields)


def told(folder: Path) -> list[dict[str, Any]]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return [dict(e.body) for e in journal.read() if e.kind == "told"]


def events(folder: Path) -> list[Event]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return journal.read()


def test_a_second_study_finds_what_the_first_made(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    first = study(tmp_path / "a", store=shared).run()
    second = study(tmp_path / "b", store=shared).run()
    assert [(t.score, t.curve, t.flops, t.parameters) for t in first.trials] == [
        (t.score, t.curve, t.flops, t.parameters) for t in second.trials
    ]
    assert all(t.curve for t in second.trials)
    assert all(body["computed"]["flops"] == body["flops"] > 0 for body in told(tmp_path / "a"))
    assert all(body["computed"]["flops"] == 0 < body["flops"] for body in told(tmp_path / "b"))
    assert all(body["alone"] > 0 for body in told(tmp_path / "b"))
    assert spent(events(tmp_path / "b")).flops == 0 < spent(events(tmp_path / "a")).flops
    assert speed(events(tmp_path / "b")) is None  # nothing was computed
    assert not (tmp_path / "a" / "store").exists()
    assert reopen(tmp_path / "b").store == str(shared.absolute())


def test_a_study_has_a_store_of_its_own_and_pins_its_best(tmp_path: Path) -> None:
    found = study(tmp_path, trials=5).run()
    store = Store(tmp_path / "store")
    best = {body["state"] for body in told(tmp_path)}
    assert found.best is not None
    assert len(store.pinned()) == 3 and store.pinned() <= best
    store.trim(0)
    whole = {row.key for row in store.list() if row.status == "whole"}
    assert store.pinned() <= whole


def test_a_store_that_is_trimmed_at_once_changes_no_score(tmp_path: Path) -> None:
    kept = study(tmp_path / "kept").run()
    trimmed = study(tmp_path / "trimmed", store_bytes=0).run()
    assert [t.score for t in kept.trials] == [t.score for t in trimmed.trials]


@dataclass(frozen=True)
class Thrifty(Searcher):
    """The cheapest of four random points."""

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _Thrift(self, space, better)


class _Thrift(Search):
    def propose(self, draw: Random, costs: Costs | None) -> Point:
        assert costs is not None
        points = [self.program.sample(draw) for _ in range(4)]
        found = costs(points)
        return points[found.index(min(found))]


def test_a_searcher_is_told_what_is_left_to_compute(tmp_path: Path) -> None:
    budget = Budget(trials=3, flops=1e15)
    study(tmp_path, Thrifty(seed=3), modules=("tests",), budget=budget).run()
    asked = [e.body for e in events(tmp_path) if e.kind == "asked"]
    for body in asked:
        assert len(body["costs"]) >= 4
        assert all(row["seconds"] is None for row in body["costs"])
        costs = {canonical(row["point"]): row["flops"] for row in body["costs"]}
        last = [canonical(row["point"]) for row in body["costs"]][-4:]
        assert costs[canonical(body["point"])] == min(costs[point] for point in last)
    flops = {body["flops"] for body in told(tmp_path)}
    assert flops <= {row["flops"] for body in asked for row in body["costs"]}


def test_a_budget_of_trials_alone_looks_at_no_cost(tmp_path: Path) -> None:
    study(tmp_path).run()
    assert not any("costs" in e.body for e in events(tmp_path))


def test_the_command_looks_into_a_store(tmp_path: Path) -> None:
    study(tmp_path, trials=1).run()
    run = CliRunner().invoke
    listed = run(app, ["store", str(tmp_path)]).stdout
    assert "Train" in listed and "Evaluate" in listed and "pinned" in listed
    key = told(tmp_path)[0]["state"]
    explained = run(app, ["store", str(tmp_path), "explain", key[:10]]).stdout
    assert key in explained and "(Train)" in explained and "scikit-learn" in explained
    assert run(app, ["store", str(tmp_path / "store"), "verify"]).exit_code == 0
    trimmed = run(app, ["store", str(tmp_path), "trim", "--bytes", "0"]).stdout
    assert "Pinned states stay" in trimmed
    assert "trimmed" in run(app, ["store", str(tmp_path)]).stdout
    for blob in (tmp_path / "store" / "blobs").iterdir():
        blob.write_bytes(b"not what was written")
    found = run(app, ["store", str(tmp_path), "verify"])
    assert found.exit_code == 1 and "1 damaged" in found.stdout
    assert run(app, ["store", str(tmp_path), "dance"]).exit_code == 2
