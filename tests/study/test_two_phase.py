"""Two phases, of which the first cannot reach the second; and who uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.contracts.test_protocols import family
from tests.study.test_inner import SETTING, Guess
from vitruvius.contracts import (
    Documents,
    Found,
    Lab,
    Measurement,
    Report,
    Split,
    Stage,
    State,
)
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.learning_tasks import LearnTasks
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.state_digest import documents_in
from vitruvius.pipeline.training import Train
from vitruvius.space import Node, hyper, log_uniform, one_of
from vitruvius.study.inner import evaluate, search_inside
from vitruvius.techniques.layers import Affine, Flatten, ReLU, Sequential
from vitruvius.techniques.learners import Descent, Replay
from vitruvius.techniques.metrics import Accuracy
from vitruvius.techniques.protocols import (
    AllAtOnce,
    ClassIncremental,
    Conventional,
    Halves,
    TwoPhase,
    optimism,
    ranked,
)

# Two phases


class Poison:
    """A column that may not be looked at while it is armed."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.armed, self.reads = values, False, 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Any:
        if self.armed:
            raise AssertionError("the half that is reported was read")
        self.reads += 1
        return self.values[rows]


@dataclass(frozen=True, eq=False)
class Watched(LocalLab):
    """Notes what is run, and arms the poison as long as designs are chosen."""

    poison: list[Poison] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)

    def study(
        self,
        space: Node,
        inputs: Sequence[Mapping[str, State]],
        searcher: Node | None,
        trials: int,
    ) -> Found:
        assert all(one.armed for one in self.poison)
        self.notes.append(("study", trials, [documents_in(dict(one)) for one in inputs]))
        found = super().study(space, inputs, searcher, trials)
        for one in self.poison:
            one.armed = False
        self.notes.append(("found", found.design))
        return found

    def run(self, pipeline: Node, inputs: Mapping[str, State]) -> State:
        if self.depth == 0:
            self.notes.append(("run", pipeline, inputs["before"]))
        return super().run(pipeline, inputs)


def poisoned() -> tuple[Halves, list[Poison]]:
    halves = Halves.cut(family(8), 0)
    final = halves.final.opened().documents
    columns = [Poison(final.payload["x"][:]), Poison(final.attributes["label"][:])]
    armed = Documents({"x": columns[0]}, {"label": columns[1]}, digest="poison")  # type: ignore[dict-item]
    made = Halves.of(halves.tuning.documents, armed)
    for one in columns:
        one.armed = True
    return made, columns


SCENARIO = ClassIncremental(each=2, held=0.25)
SPACE = Guess(number=log_uniform(0.01, 1.0))


def test_the_reported_half_is_not_reached_before_the_choice() -> None:
    halves, poison = poisoned()
    watched = lab_of(poison)
    report = TwoPhase(SCENARIO, trials=7, orders=3, finals=4).evaluate(
        SPACE, halves.splits, watched
    )
    kinds = [note[0] for note in watched.notes]
    assert kinds == ["study", "found", *["run"] * 4]
    _, trials, known = watched.notes[0]
    assert trials == 7 and len(known) == 3
    assert not any(halves.final.digest in one for one in known)
    design = watched.notes[1][1]
    assert all(note[1] == design for note in watched.notes[2:])
    assert (report.table["phase"] == 1).sum() == 21 and (report.table["phase"] == 2).sum() == 4
    first = set(report.table["order"][report.table["phase"] == 1])
    second = set(report.table["order"][report.table["phase"] == 2])
    assert first == {0, 1, 2} and second == {3, 4, 5, 6}


def lab_of(poison: list[Poison]) -> Watched:
    return Watched(SETTING, inner=search_inside, poison=poison)


@dataclass(frozen=True, kw_only=True)
class Reaching(Guess):
    """Reads whatever split it can find."""

    reach: Any = hyper(None, doc="nothing")

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        for name in ("tuning", "final", "test"):
            assert name not in inputs["before"].splits
        return super().run(inputs, lab)


def test_the_poison_works_and_a_stage_finds_no_other_half() -> None:
    halves, poison = poisoned()
    with pytest.raises(AssertionError, match="was read"):
        Conventional(SCENARIO, trials=2).evaluate(SPACE, halves.splits, lab_of(poison))
    protocol = TwoPhase(SCENARIO, trials=2, orders=1, finals=1)
    protocol.evaluate(Reaching(number=one_of(0.1, 0.2)), halves.splits, lab_of(poison))


def test_the_design_of_phase_1_is_the_best_of_phase_1() -> None:
    halves = Halves.cut(family(8), 0)
    report = evaluate(TwoPhase(SCENARIO, trials=9), SPACE, halves.splits)
    first = report.table["phase"] == 1
    trials, scores = report.table["trial"][first], report.table["score"][first]
    means = [scores[trials == t].mean() for t in range(9)]
    assert set(trials[report.table["chosen"][first]]) == {int(np.argmax(means))}
    second = report.table["score"][~first]
    evidence = report.verdict.evidence
    assert evidence["tuned"] == pytest.approx(max(means))
    assert evidence["mean"] == pytest.approx(second.mean())
    assert evidence["spread"] == pytest.approx(second.std(ddof=1))
    assert evidence["flops"] == pytest.approx(9 * 3 * 10)
    score = report.measurements[-1]
    assert score.value == pytest.approx(second.mean())
    assert score.stderr == pytest.approx(second.std(ddof=1) / 5**0.5)
    assert np.array_equal(score.details["runs"], second)


def test_a_decided_subject_has_no_first_phase() -> None:
    halves, poison = poisoned()
    for one in poison:
        one.armed = False
    watched = lab_of(poison)
    report = TwoPhase(SCENARIO, finals=2).evaluate(Guess(number=0.1), halves.splits, watched)
    assert [note[0] for note in watched.notes] == ["run", "run"]
    assert "tuned" not in report.verdict.evidence and set(report.table["phase"]) == {2}


def test_in_the_orders_that_chose_the_best_is_never_worse() -> None:
    """Same draws, same half, same orders: what is chosen elsewhere cannot beat the maximum."""
    for seed in range(6):
        halves = Halves.cut(family(12), seed)
        best = evaluate(Conventional(SCENARIO, trials=8), SPACE, halves.splits)
        fair = evaluate(TwoPhase(SCENARIO, trials=8), SPACE, halves.splits)
        chosen = fair.table["trial"][(fair.table["phase"] == 1) & fair.table["chosen"]][0]
        there = best.table["score"][best.table["trial"] == chosen].mean()
        assert best.measurements[-1].value >= there
        swapped = evaluate(TwoPhase(SCENARIO, trials=8), SPACE, halves.swapped().splits)
        assert swapped.verdict.evidence["tuned"] == pytest.approx(best.measurements[-1].value)


def test_optimism_has_the_sign_of_what_is_better() -> None:
    def report(value: float, better: Any) -> Report:
        score = Measurement("score", value, better)
        return Report({}, TwoPhase().verdict(_one_run(value)), (score,))

    assert optimism(report(0.9, "higher"), report(0.8, "higher")) == pytest.approx(0.1)
    assert optimism(report(0.8, "lower"), report(0.9, "lower")) == pytest.approx(0.1)
    assert ranked({"a": report(0.1, "higher"), "b": report(0.2, "higher")}) == ["b", "a"]
    assert ranked({"a": report(0.1, "lower"), "b": report(0.2, "lower")}) == ["a", "b"]


def _one_run(value: float) -> dict[str, np.ndarray]:
    return {"phase": np.array([2]), "score": np.array([value])}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            lambda h: {"tuning": h.tuning},
            r"needs the halves 'tuning' and 'final'; got \['tuning'\]",
        ),
        (
            lambda h: {"tuning": h.tuning, "final": h.final.opened()},
            "needs the half 'final' sealed",
        ),
    ],
)
def test_what_is_no_pair_of_halves_is_refused(data: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(TwoPhase(SCENARIO, trials=1), SPACE, data(Halves.cut(family(8), 0)))


def test_halves_that_make_another_scenario_are_refused() -> None:
    splits = {
        "tuning": Split(family(8)),
        "final": Split(family(10, seed=1), sealed=True),
    }
    with pytest.raises(ValueError, match="Both halves must make one scenario"):
        evaluate(TwoPhase(SCENARIO, trials=1, orders=1), SPACE, splits)


@dataclass(frozen=True, kw_only=True)
class Mute(Stage):
    """Measures nothing."""

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        return inputs["before"]


def test_a_subject_without_a_score_is_refused() -> None:
    halves = Halves.cut(family(8), 0)
    with pytest.raises(ValueError, match="must measure something that ranks"):
        evaluate(TwoPhase(SCENARIO), Mute(), halves.splits)


# Users


def digits() -> Halves:
    x, label = load_digits(return_X_y=True)
    images = x[:600].reshape(-1, 1, 8, 8).astype(np.float32)
    return Halves.cut(Documents({"image": images}, {"label": label[:600]}), 0)


def test_continual_learners_go_through_two_phases() -> None:
    descent = Descent(epochs=6, batch_size=16, learning_rate=one_of(0.01, 0.05))
    body = Sequential(Flatten(), Affine(32), ReLU())
    subject = LearnTasks(learner=Replay(descent), model=body)
    protocol = TwoPhase(ClassIncremental(each=1, memory=4), trials=2, orders=1, finals=2)
    report = evaluate(protocol, subject, digits().splits)
    names = [m.name for m in report.measurements]
    assert names == ["final accuracy", "forgetting", "exemplars", "average accuracy"]
    assert report.measurements[-1].value > 0.5
    assert report.measurements[2].value == 20
    again = evaluate(protocol, subject, digits().splits)
    for name in ("score", "flops", "trial", "order"):
        assert np.array_equal(report.table[name], again.table[name])


def test_any_other_claim_does() -> None:
    """A plain training, on classes that its learning rate was not chosen by."""
    train = Train(model=Sequential(Flatten(), Affine(5)), epochs=one_of(5, 40), batch_size=16)
    subject = Pipeline(train, Evaluate())
    protocol = TwoPhase(AllAtOnce(metric=Accuracy()), trials=2, orders=1, finals=2)
    report = evaluate(protocol, subject, digits().splits)
    assert report.measurements[-1].name == "accuracy"
    assert report.measurements[-1].value > 0.8
