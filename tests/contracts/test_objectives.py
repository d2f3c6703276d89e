"""Every objective gives a loss per row that does not depend on the order of rows."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.contracts.common import name, samples
from tests.contracts.tasks import (
    CLASSES,
    NUMBER,
    answers,
    batch_of,
    documents,
    given,
    model_of,
)
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Batch, Corrupted, Loss, Objective, Progress, Task
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.objectives import Supervised

ALL = catalogue(Objective)
NOW = Progress(0, 0, 12, 0.0)


def step(objective: Objective, task: Task, batch: Batch | None = None) -> Loss:
    model = model_of(Readout(), task)
    batch = batch_of(documents(task)) if batch is None else batch
    return objective.step(model, objective.build(model), batch, NOW, given(task))


@pytest.mark.parametrize("task", [CLASSES, NUMBER], ids=lambda task: task.name)
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_value_is_the_mean_of_the_rows(cls: type[Objective], task: Task) -> None:
    for objective in samples(cls, 5):
        loss = step(objective, task)
        assert loss.value.shape == ()
        assert loss.per_row is not None and loss.per_row.shape == (12,)
        assert torch.isfinite(loss.per_row).all()
        assert torch.equal(loss.value, loss.per_row.mean())


@pytest.mark.parametrize("task", [CLASSES, NUMBER], ids=lambda task: task.name)
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_order_of_rows_does_not_matter(cls: type[Objective], task: Task) -> None:
    items = documents(task)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    for objective in samples(cls, 5):
        plain = step(objective, task)
        shuffled = step(objective, task, batch_of(items.take(order.numpy())))
        assert plain.per_row is not None and shuffled.per_row is not None
        torch.testing.assert_close(shuffled.per_row, plain.per_row[order])
        torch.testing.assert_close(shuffled.value, plain.value)


@pytest.mark.parametrize("task", [CLASSES, NUMBER], ids=lambda task: task.name)
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_same_seed_gives_the_same_loss(cls: type[Objective], task: Task) -> None:
    for objective in samples(cls, 3):
        assert torch.equal(step(objective, task).value, step(objective, task).value)


@pytest.mark.parametrize("task", [CLASSES, NUMBER], ids=lambda task: task.name)
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_gradients_reach_every_parameter(cls: type[Objective], task: Task) -> None:
    objective, model = cls(), model_of(Readout(), task)
    loss = objective.step(
        model, objective.build(model), batch_of(documents(task)), NOW, given(task)
    )
    loss.value.backward()
    for module in (model.bodies["input"], model.heads["task"]):
        for path, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), path


def test_cross_entropy_by_hand() -> None:
    batch = batch_of(documents(CLASSES))
    for smoothing in (0.0, 0.1):
        loss = step(Supervised(smoothing), CLASSES)
        surprise = -answers(model_of(Readout(), CLASSES), batch).log_softmax(-1)
        right = surprise.gather(1, batch.fields["label"][:, None]).squeeze(1)
        by_hand = (1 - smoothing) * right + smoothing * surprise.mean(1)
        assert loss.per_row is not None
        torch.testing.assert_close(loss.per_row, by_hand)


def test_squared_error_is_in_standard_deviations() -> None:
    items = documents(NUMBER)
    batch, std = batch_of(items), items.attributes["label"].std()
    error = answers(model_of(Readout(), NUMBER), batch) - batch.fields["label"]
    loss = step(Supervised(), NUMBER)
    assert loss.per_row is not None
    torch.testing.assert_close(loss.per_row, (error / std).square())


def test_the_unit_of_the_target_does_not_change_the_loss() -> None:
    items = documents(NUMBER)
    larger = documents(NUMBER).attributes["label"] * 1000
    thousands = replace(items, attributes={"label": larger}, digest="")
    asked = given(NUMBER).but(documents=thousands)
    fitted = Readout().fit(asked)
    assert fitted is not None
    model = model_of(Readout(), NUMBER)
    model.heads["task"].load_state_dict(dict(fitted.tensors), strict=False)
    objective = Supervised()
    loss = objective.step(model, nn.Module(), batch_of(thousands), NOW, asked)
    torch.testing.assert_close(loss.value, step(objective, NUMBER).value)


def test_weights_say_how_much_a_row_counts() -> None:
    batch, objective = batch_of(documents(CLASSES)), Supervised()
    model, asked = model_of(Readout(), CLASSES), given(CLASSES)
    weight = torch.zeros(12)
    weight[3:5] = torch.tensor([1.0, 3.0])
    seen = Corrupted(batch, batch.fields, {"label": weight})
    loss = objective.loss(model, nn.Module(), seen, NOW, asked)
    plain = step(objective, CLASSES).per_row
    assert plain is not None
    torch.testing.assert_close(loss.value, (plain[3] + 3 * plain[4]) / 4)


def test_answers_and_labels_of_other_shapes_are_refused() -> None:
    batch = batch_of(documents(NUMBER))
    wide = replace(batch, fields={"label": batch.fields["label"][:, None]})
    with pytest.raises(ValueError, match=r"labels of the same shape; got \[12\] and \[12, 1\]"):
        step(Supervised(), NUMBER, wide)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"Supervised\.label_smoothing .* got {smoothing}"):
        Supervised(smoothing)
