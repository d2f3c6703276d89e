"""Studies that run designs for a share of their horizon, and promote the better ones."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.study.spaces import tiny
from vitruvius.contracts import Cost, Lab, Measurement, Split, Stage, State
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.search import (
    ASHA,
    SMBO,
    Event,
    RandomSearch,
    Recorded,
    Searcher,
    SuccessiveHalving,
    ask,
)
from vitruvius.space import canonical, one_of, replay
from vitruvius.study.budget import Budget
from vitruvius.study.costing import costing
from vitruvius.study.journal import Journal
from vitruvius.study.report import render
from vitruvius.study.settings import JOURNAL, Final, StudyError, Surroundings
from vitruvius.study.study import Study
from vitruvius.study.terminal import View, best_so_far, leaderboard
from vitruvius.study.trials import Summary, summary, to_json
from vitruvius.study.worker import setting_of
from vitruvius.techniques.layers import Affine, Flatten, Sequential
from vitruvius.techniques.metrics import Accuracy, MacroF1
from vitruvius.techniques.optimizers import AdamW
from vitruvius.train.checkpoint import load_tensors

EPOCHS = 9
SHARES = (1 / 9, 1 / 3, 1.0)
MODEL = Sequential(Flatten(), Affine(10))
SEARCHERS = {"asha": ASHA(RandomSearch()), "halving": SuccessiveHalving(RandomSearch())}


def study(folder: Path, searcher: Searcher, **changes: Any) -> Study:
    given = {"space": tiny(EPOCHS), "budget": Budget(trials=13), "final": Final(top=1, seeds=1)}
    return Study(searcher=searcher, folder=folder, **{**given, **changes})


def events(folder: Path) -> list[Event]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return journal.read()


def told(found: Summary) -> list[tuple]:
    return [(t.number, dict(t.point), t.status, t.score, t.share) for t in found.trials]


@pytest.fixture(scope="module", params=SEARCHERS)
def uncut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param) / "s"
    searcher = SEARCHERS[request.param]
    return folder, searcher, study(folder, searcher).run()


def test_promoted_trials_continue_bit_for_bit_and_cost_the_rest(uncut: Any) -> None:
    folder, _, found = uncut
    bodies = {e.trial: e.body for e in events(folder) if e.kind == "told"}
    begun = {e.trial: e.body for e in events(folder) if e.kind == "asked"}
    promoted = [n for n, body in begun.items() if body.get("share", 1.0) == 1.0]
    assert promoted  # one at least reached the end
    for number, body in bodies.items():
        share, before = body.get("share", 1.0), 0.0
        for other, earlier in bodies.items():
            same = begun[other]["point"] == begun[number]["point"]
            if same and other < number:
                before = max(before, earlier["flops"])
        assert body["computed"]["flops"] == pytest.approx(body["flops"] - before)
        assert share == 1.0 or body["flops"] < max(b["flops"] for b in bodies.values())
    best = found.leaders[0]
    weights, _ = load_tensors(folder / "trials" / f"{best.number:04d}" / "model.safetensors")
    alone = LocalLab(setting_of(0, "cpu", 1)).run(replay(tiny(EPOCHS), best.point), {})
    assert alone.model is not None
    whole = {f"network.body.{n}": t for n, t in alone.model.bodies["input"].state_dict().items()}
    assert whole.keys() <= weights.keys() and whole
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole.items())
    assert alone.measurements[-1].value == best.score
    assert [step for step, _, _ in best.curve] == sorted({step for step, _, _ in best.curve})
    assert len(best.curve) == EPOCHS  # with what was told at its rungs


def test_rungs_hold_what_they_should(uncut: Any) -> None:
    _, searcher, found = uncut
    counts = Counter(round(trial.share, 3) for trial in found.trials)
    assert sum(counts.values()) == 13  # a promotion is a run
    if isinstance(searcher, SuccessiveHalving):
        assert counts == {0.111: 9, 0.333: 3, 1.0: 1}
    assert set(counts) == {0.111, 0.333, 1.0}


def test_whole_trainings_lead_and_passed_rungs_are_left_out(uncut: Any) -> None:
    _, _, found = uncut
    shares = [trial.share for trial in found.leaders]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1.0
    assert found.best == found.leaders[0]
    keys = [canonical(trial.point) for trial in found.leaders]
    assert len(keys) == len(set(keys)) == len({canonical(t.point) for t in found.trials})
    whole = [t.score for t in found.trials if t.share == 1]
    assert found.best.score == max(whole) == best_so_far(found)[-1]
    written = to_json(found)["trials"]
    assert [row.get("share", 1.0) for row in written] == [t.share for t in found.trials]


def test_the_evidence_is_of_whole_trainings(uncut: Any) -> None:
    folder, _, found = uncut
    assert found.final is not None and "share" not in found.final
    rescored = [e.body for e in events(folder) if e.kind == "rescored"]
    best = found.best
    assert best is not None
    assert [body["flops"] for body in rescored] == [best.flops]


def test_the_views_say_where_a_score_is_of_a_rung(uncut: Any) -> None:
    _, _, found = uncut
    stream = io.StringIO()
    view = View(stream)
    view.update(found, 1.0)
    said = stream.getvalue()
    assert "at 11 % of the training" in said and "at 33 % of the training" in said
    heads = [str(column.header) for column in leaderboard(found).columns]
    assert "trained" in heads
    assert "at 11 % of the training" in render(found)


@pytest.mark.parametrize("after", [4, 15, 24, 31])
def test_what_was_cut_off_anywhere_goes_on_as_if_it_had_not_been(
    tmp_path: Path, after: int, uncut: Any
) -> None:
    folder, searcher, whole = uncut
    cut = tmp_path / "cut"
    cut.mkdir()
    with Journal(cut / JOURNAL) as journal:
        for event in events(folder)[:after]:
            journal.append(event.kind, event.trial, event.body)
    found = study(cut, searcher).run()  # without what the first had in its store
    assert told(found) == told(whole)


def test_killed_between_a_promotion_and_what_it_told(tmp_path: Path, uncut: Any) -> None:
    folder, searcher, whole = uncut
    every = events(folder)
    at = next(
        i for i, e in enumerate(every) if e.kind == "asked" and e.body.get("share") == SHARES[1]
    )
    cut = tmp_path / "cut"
    cut.mkdir()
    with Journal(cut / JOURNAL) as journal:
        for event in every[: at + 1]:
            journal.append(event.kind, event.trial, event.body)
    found = study(cut, searcher, store=folder / "store").run()
    assert told(found) == told(whole)
    (again,) = [e for e in events(cut) if e.kind == "told" and e.trial == every[at].trial]
    assert again.body["share"] == SHARES[1] and again.body["computed"]["flops"] == 0


def test_several_workers_wait_for_who_may_be_promoted(tmp_path: Path) -> None:
    """Two points and two workers: nothing is left to ask until both have ended."""
    load, train, evaluate = tiny(EPOCHS).stages
    space = Pipeline(load, train.replace(optimizer=AdamW(1e-2), model=MODEL), evaluate)
    found = study(tmp_path, ASHA(RandomSearch()), space=space, around=Surroundings(workers=2)).run()
    assert found.ended is not None and "points of the space have been asked" in found.ended
    shares = Counter(round(trial.share, 3) for trial in found.trials)
    assert shares == {0.111: 2, 0.333: 1, 1.0: 1}


def test_a_design_without_rungs_counts_as_whole(tmp_path: Path) -> None:
    found = study(tmp_path, ASHA(RandomSearch()), space=mixed(), budget=Budget(trials=6)).run()
    for trial in found.trials:
        one = next(v for k, v in trial.point.items() if k.endswith("epochs"))
        assert trial.share == 1.0 if one == 1 else trial.share < 1


def mixed() -> Pipeline:
    load, train, evaluate = tiny().stages
    return Pipeline(load, train.replace(epochs=one_of(1, 9)), evaluate)


def test_a_searcher_of_rungs_needs_some(tmp_path: Path) -> None:
    space = Pipeline(Load("digits"), Evaluate(one_of(Accuracy(), MacroF1())))
    with pytest.raises(StudyError, match=r"ASHA needs a stage that has rungs.*this space has none"):
        study(tmp_path / "a", ASHA(), space=space).run()
    with pytest.raises(StudyError, match=r"ASHA\.stage must name.*got 'Trian'.*has: Train"):
        study(tmp_path / "b", ASHA(stage="Trian")).run()
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_costs_are_of_the_share_that_would_run_and_asks_replay(tmp_path: Path) -> None:
    searcher = ASHA(SMBO(initial=2), enough=4)
    space = tiny(EPOCHS)
    budget = Budget(trials=10, flops=1e15)
    study(tmp_path, searcher, space=space, budget=budget).run()
    every = events(tmp_path)
    flops = {e.trial: e.body["computed"]["flops"] for e in every if e.kind == "told"}
    begun = [e for e in every if e.kind == "asked"]
    priced = [e for e in begun if "costs" in e.body]
    assert priced
    for event in priced:
        row = next(r for r in event.body["costs"] if r["point"] == event.body["point"])
        assert row["flops"] == pytest.approx(flops[event.trial])
        history = [e for e in every if e.sequence < event.sequence]
        costs = Recorded(event.body["costs"])
        assert ask(searcher, space, history, event.trial, costs=costs) == event.body["point"]


@pytest.mark.parametrize(
    ("budget", "pricing", "told_costs"),
    [
        (Budget(trials=5), 0.0, False),
        (Budget(flops=1e9), 99.0, True),
        (Budget(seconds=60), 0.0, True),
        (Budget(seconds=60), 0.9, True),
        (Budget(seconds=60, flops=1e9), 1.1, False),
    ],
)
def test_costs_are_told_in_what_the_budget_counts_and_take_little_of_it(
    budget: Budget, pricing: float, told_costs: bool
) -> None:
    session: Any = SimpleNamespace(
        settings=SimpleNamespace(budget=budget), pricing=pricing, seconds=10.0
    )
    assert (costing(session) is not None) == told_costs


@dataclass(frozen=True, kw_only=True)
class Few(Stage):
    """Train on the first rows alone. Says that it takes far more than any training on them."""

    rows: int = 100

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        before = inputs["before"]
        kept = Split(before.splits["train"].documents.take(np.arange(self.rows)))
        took = Measurement("rows", float(self.rows), cost=Cost(flops=1e11))
        splits = {**before.splits, "train": kept}
        return replace(before, splits=splits, measurements=(*before.measurements, took))

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost:
        return Cost(flops=1e11)


def test_a_better_beginning_that_is_not_stored_is_found(tmp_path: Path) -> None:
    """However cheap it is to stay with the worse one, which happens to come first."""
    load, train, evaluate = tiny(2).stages
    space = Pipeline(load, Few(rows=one_of(30, 900)), train, evaluate)
    searcher, budget = SMBO(initial=2, epsilon=0.0, seed=2), Budget(trials=8, flops=1e15)
    found = study(
        tmp_path, searcher, space=space, budget=budget, modules=("tests",), final=Final(1, 1)
    ).run()
    rows = [trial.point["few.rows"] for trial in found.trials]
    assert rows[:2] == [30, 30]  # the start is cheap
    assert found.best is not None and found.best.point["few.rows"] == 900
    assert rows[-2:] == [900, 900]
    bodies = [e.body for e in events(tmp_path) if e.kind == "told"]
    dear = [body["computed"]["flops"] > 1e11 for body in bodies]
    assert sum(dear) == 2 and dear[0]  # each beginning was computed once
    asked = [e.body for e in events(tmp_path) if e.kind == "asked"]
    dearest = [max(row["flops"] or 0.0 for row in body["costs"]) for body in asked[1:]]
    new = dearest[: dear.index(True, 1)]
    assert new == sorted(new, reverse=True)  # a new beginning would serve more and more


def test_the_summary_ranks_by_share_then_score() -> None:
    rows: list[tuple[str, int, dict[str, Any]]] = [("study", 0, {"better": "higher"})]
    for number, (point, share, score) in enumerate(
        [("a", 1 / 3, 0.9), ("b", 1 / 3, 0.8), ("a", 1.0, 0.5), ("c", 1 / 9, 0.99)], 1
    ):
        part = {"share": share} if share < 1 else {}
        rows.append(("asked", number, {"point": {"x": point}, **part}))
        rows.append(("told", number, {"score": score, "scores": {}, "status": "finished", **part}))
    found = summary(Event(i, *row) for i, row in enumerate(rows, 1))
    assert [trial.number for trial in found.leaders] == [3, 2, 4]  # 1 went on as 3
    assert found.best is not None and found.best.number == 3
    assert {trial.number for trial in found.alike} == {1, 2}
    assert found.trials[0].whole_flops == 0.0
