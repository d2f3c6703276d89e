"""Tasks one after another: who is asked what, when, and what the numbers mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.contracts.test_protocols import family
from vitruvius.contracts import (
    Cost,
    Documents,
    Effort,
    Given,
    Learner,
    Learning,
    Lesson,
    Limits,
    SealedError,
    Split,
    State,
)
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.learning_tasks import LearnTasks, accuracies
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.store import Store
from vitruvius.space import Infeasible
from vitruvius.techniques.layers import Affine, Conv, Identity, ReLU, Sequential
from vitruvius.techniques.learners import Descent, FineTuning, ICaRL, LwF, RanPAC, Replay
from vitruvius.techniques.metrics import Accuracy, MacroF1
from vitruvius.techniques.protocols import ClassIncremental

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
SHORT = Descent(epochs=2, batch_size=8, learning_rate=0.05)
BODY = Sequential(Affine(6), ReLU())


def scenario(order: int = 0, classes: int = 6, each: int = 2) -> State:
    arranged = ClassIncremental(each=each, memory=2, held=0.25).arrange(family(classes), order)
    return arranged


class Head(nn.Module):
    """Answers what it was told, or nothing that is a number."""

    def __init__(self, classes: int, always: int | None) -> None:
        super().__init__()
        self.classes, self.always = classes, always

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        if self.always is None:
            return torch.full((len(outputs.hidden), self.classes), torch.nan)
        scores = torch.zeros(len(outputs.hidden), self.classes)
        scores[:, self.always] = 1.0
        return scores


ASKED: list[Any] = []


@dataclass(frozen=True)
class Constantly(Learner):
    """Answers one class; notes what it is shown."""

    always: int | None = 0

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        return _Constant(body, self.always, memory)


class _Constant(Learning):
    def __init__(self, body: nn.Module, always: int | None, memory: int) -> None:
        self.body, self.always, self.memory, self.classes = body, always, memory, 0

    @property
    def head(self) -> nn.Module:
        return Head(self.classes, self.always)

    def learn(self, lesson: Lesson) -> Effort:
        self.classes = lesson.classes
        ASKED.append(("learn", lesson, self.memory))
        return Effort(trained=len(lesson.inputs), read=3, flops=7.0)

    def answer(self, inputs: Tensor) -> Tensor:
        ASKED.append(("answer", inputs))
        return super().answer(inputs)


def run(stage: LearnTasks, before: State | None = None, **other: Any) -> State:
    lab = LocalLab(SETTING, **other)
    return lab.run(stage, {"before": before or scenario()})


def measured(state: State) -> dict[str, float]:
    return {m.name: m.value for m in state.measurements}


def test_after_a_task_exactly_the_classes_so_far_are_asked() -> None:
    ASKED.clear()
    run(LearnTasks(learner=Constantly(), model=BODY))
    held = scenario().splits["validation"].documents.attributes["label"]
    for task in range(3):
        (told, lesson, memory), (asked, inputs) = ASKED[2 * task : 2 * task + 2]
        assert (told, asked, memory) == ("learn", "answer", 2)
        assert (lesson.seen, lesson.classes) == (2 * task, 2 * task + 2)
        assert set(lesson.label.tolist()) == {2 * task, 2 * task + 1}
        assert len(lesson.inputs) == 2 * 6
        assert len(inputs) == (held < 2 * task + 2).sum() == 4 * (task + 1)


def test_accuracies_of_a_constant_answer() -> None:
    """Class 0 is right for half of the first task, and for none of the others."""
    state = run(LearnTasks(learner=Constantly(), model=BODY))
    told = measured(state)
    curve = score_of(state).details["curve"]
    assert curve.tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 6])
    assert told["average accuracy"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 6) / 3)
    assert told["final accuracy"] == pytest.approx(1 / 6)
    assert told["forgetting"] == 0.0
    matrix = score_of(state).details["matrix"]
    assert matrix[2].tolist() == [0.5, 0.0, 0.0]
    assert np.isnan(matrix[0, 1:]).all()


def test_an_answer_that_is_no_number_is_wrong() -> None:
    told = measured(run(LearnTasks(learner=Constantly(None), model=BODY)))
    assert told["average accuracy"] == told["final accuracy"] == 0.0


def test_forgetting_is_the_best_that_was_less_what_is_left() -> None:
    found = accuracies([[8], [4, 6], [5, 3, 9]], [10, 10, 10], 4, Cost())
    told = {m.name: m.value for m in found}
    assert told["forgetting"] == pytest.approx(((0.8 - 0.5) + (0.6 - 0.3)) / 2)
    assert told["average accuracy"] == pytest.approx((0.8 + 10 / 20 + 17 / 30) / 3)
    assert told["final accuracy"] == pytest.approx(17 / 30)
    assert told["exemplars"] == 4
    uneven = accuracies([[1], [1, 9]], [1, 9], 0, Cost())
    assert uneven[-1].value == 1.0  # by items, not by tasks
    assert accuracies([[1]], [2], 0, Cost())[1].value == 0.0


def test_cost_counts_items_by_what_is_done_with_them() -> None:
    score = score_of(run(LearnTasks(learner=Constantly(), model=BODY)))
    forward = 2 * 3 * 6 + 2 * 6 * 6  # body, and a classifier of all six classes
    assert score.cost.flops == 36 * 3 * forward + 9 * forward + 21
    assert score.cost.parameters == 3 * 6 + 6 + 6 * 6 + 6
    assert score.cost.seconds > 0


def test_inputs_are_prepared_by_what_the_first_task_shows() -> None:
    before = scenario()
    state = run(LearnTasks(learner=Constantly(), model=BODY), before)
    train = before.splits["train"].documents
    first = train.payload["x"][train.attributes["task"] == 0]
    assert state.model is not None
    mean = state.model.prepared[0].fitted.tensors["mean"].flatten()
    assert mean.tolist() == pytest.approx(first.astype(np.float64).mean(0).tolist())


LEARNERS = [FineTuning(SHORT), Replay(SHORT), LwF(SHORT), ICaRL(SHORT), RanPAC(width=8)]


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_the_model_that_is_handed_on_answers_as_it_was_measured(
    learner: Learner, tmp_path: Path
) -> None:
    """Also from a store, and by Evaluate."""
    design = Pipeline(LearnTasks(learner=learner, model=BODY), Evaluate(MacroF1(), (Accuracy(),)))
    made = LocalLab(SETTING, store=Store(tmp_path)).run(design, {"before": scenario()})
    told = measured(made)
    assert told["accuracy"] == pytest.approx(told["final accuracy"])
    loaded = LocalLab(SETTING, store=Store(tmp_path)).run(design, {"before": scenario()})
    assert measured(loaded) == told and loaded.digest == made.digest
    alone = LocalLab(SETTING).run(design, {"before": scenario()})
    assert measured(alone) == told
    again = LocalLab(SETTING).evaluate(loaded, Accuracy())
    assert again.value == pytest.approx(told["final accuracy"])


def test_it_goes_on_with_the_body_of_the_stage_before() -> None:
    first = run(LearnTasks(learner=FineTuning(SHORT), model=BODY))
    assert first.model is not None
    weights = {n: t.clone() for n, t in first.model.bodies["input"].state_dict().items()}
    second = run(
        LearnTasks(learner=RanPAC(width=8)), replace(scenario(1), model=first.model, digest="x")
    )
    assert second.model is not None
    frozen = second.model.bodies["input"].state_dict()
    assert all(torch.equal(frozen[name], weights[name]) for name in weights)
    trained = run(
        LearnTasks(learner=FineTuning(SHORT)), replace(scenario(1), model=first.model, digest="x")
    )
    assert trained.model is not None
    now = trained.model.bodies["input"].state_dict()
    assert not all(torch.equal(now[name], weights[name]) for name in weights)
    kept = first.model.bodies["input"].state_dict()
    assert all(torch.equal(kept[name], weights[name]) for name in weights)


def test_the_same_stage_gives_the_same_bits_whatever_ran_before() -> None:
    stage = LearnTasks(learner=Replay(SHORT), model=BODY)
    first = run(stage)
    torch.rand(3)
    drawn = torch.get_rng_state()
    again = run(stage)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert first.model is not None and again.model is not None
    for ours, theirs in zip(
        first.model.bodies["input"].parameters(),
        again.model.bodies["input"].parameters(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the tasks of a scenario before it"):
        run(LearnTasks(model=BODY), State())
    with pytest.raises(ValueError, match=r"LearnTasks\.model is None, and no stage before it"):
        run(LearnTasks())
    with pytest.raises(Infeasible, match="exceed the limit of 10"):
        run(LearnTasks(model=BODY), limits=Limits(max_parameters=10))
    images = Documents(
        {"image": np.random.default_rng(0).normal(size=(48, 1, 4, 4)).astype(np.float32)},
        {"label": np.repeat(np.arange(6), 8)},
    )
    before = ClassIncremental(each=2, held=0.25).arrange(images, 0)
    with pytest.raises(Infeasible, match=r"LearnTasks needs \[B, d\]; got \[B, 3, 4, 4\]"):
        run(LearnTasks(model=Conv(3)), before)


def test_a_sealed_part_stays_shut() -> None:
    before = scenario()
    shut = {**before.splits, "test": Split(family(2), sealed=True)}
    run(LearnTasks(learner=RanPAC(width=4), model=Identity()), replace(before, splits=shut))
    with pytest.raises(SealedError):
        _ = shut["test"].documents
