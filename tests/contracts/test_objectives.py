"""Every objective gives a loss per row that does not depend on the order of rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, samples
from tests.contracts.tasks import (
    CLASSES,
    NUMBER,
    answers,
    batch_of,
    documents,
    given,
    image_batch,
    image_model,
    image_rows,
    model_of,
    seeded,
)
from tests.contracts.texts import LENGTHS, pair_batch, rows_of, token_batch, token_model
from tests.contracts.texts import given as text_given
from vitruvius.catalogue import catalogue
from vitruvius.contracts import (
    Batch,
    Corrupted,
    Given,
    Loss,
    Model,
    Objective,
    Progress,
    Task,
)
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.objectives import NextToken, Supervised, Unchanged

OF_EDITS = {Unchanged}  # tests/techniques/objectives
ALL = tuple(cls for cls in catalogue(Objective) if cls not in OF_EDITS)
NOW = Progress(0, 0, 12, 0.0)
TASKS = {"classes": CLASSES, "numbers": NUMBER}


@dataclass(frozen=True)
class Setting:
    """What an objective is tried on: a model, a batch, some of its rows, and what is given."""

    model: Callable[[Objective], Model]
    batch: Batch
    rows: Callable[[Tensor], Batch]
    given: Callable[[], Given]


def settings_of(cls: type[Objective]) -> dict[str, Setting]:
    """By what the batches of a class hold."""
    if cls.reads == "labels":
        return {name: _labels(task) for name, task in TASKS.items()}
    if cls.reads == "items":
        batch = image_batch()
        return {"items": Setting(image_model, batch, lambda rows: image_rows(batch, rows), seeded)}
    lengths = tuple(tuple(8 * length for length in row) for row in LENGTHS)
    batch = token_batch(lengths) if cls.reads == "tokens" else pair_batch()

    def model(objective: Objective) -> Model:
        return token_model(causal=isinstance(objective, NextToken), inner=8)

    return {cls.reads: Setting(model, batch, lambda rows: rows_of(batch, rows), text_given)}


def _labels(task: Task) -> Setting:
    items = documents(task)
    return Setting(
        lambda _: model_of(Readout(), task),
        batch_of(items),
        lambda rows: batch_of(items.take(rows.numpy())),
        lambda: given(task).but(models={"teacher": model_of(Readout(), task, seed=1)}),
    )


CASES = [
    pytest.param(cls, setting, id=f"{cls.__name__}-{word}")
    for cls in ALL
    for word, setting in settings_of(cls).items()
]
every_one = pytest.mark.parametrize(("cls", "setting"), CASES)


def made(objective: Objective, model: Model) -> nn.Module:
    """Its parts, with weights of their own that are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return objective.build(model)


def taken(objective: Objective, setting: Setting, batch: Batch | None = None) -> Loss:
    """The loss of one step."""
    model = setting.model(objective)
    batch = setting.batch if batch is None else batch
    return objective.step(model, made(objective, model), batch, NOW, setting.given())


def step(objective: Objective, task: Task, batch: Batch | None = None) -> Loss:
    return taken(objective, _labels(task), batch)


@every_one
def test_the_value_is_the_mean_of_the_rows(cls: type[Objective], setting: Setting) -> None:
    for objective in samples(cls, 5):
        loss, rows = taken(objective, setting), len(setting.batch.rows)
        assert loss.value.shape == ()
        assert loss.per_row is not None and loss.per_row.shape == (rows,)
        assert torch.isfinite(loss.per_row).all()
        assert torch.equal(loss.value, loss.per_row.mean())
        assert not any(part.requires_grad for part in loss.parts.values())


@every_one
def test_the_order_of_rows_does_not_matter(cls: type[Objective], setting: Setting) -> None:
    rows = len(setting.batch.rows)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    for objective in samples(cls, 5):
        plain = taken(objective, setting)
        shuffled = taken(objective, setting, setting.rows(order))
        assert plain.per_row is not None and shuffled.per_row is not None
        torch.testing.assert_close(shuffled.per_row, plain.per_row[order], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(shuffled.value, plain.value, atol=1e-4, rtol=1e-4)


@every_one
def test_the_same_seed_gives_the_same_loss(cls: type[Objective], setting: Setting) -> None:
    for objective in samples(cls, 3):
        assert torch.equal(taken(objective, setting).value, taken(objective, setting).value)


@every_one
def test_gradients_reach_every_parameter(cls: type[Objective], setting: Setting) -> None:
    for objective in (example(cls), *samples(cls, 3)):
        model = setting.model(objective)
        parts = made(objective, model)
        objective.step(model, parts, setting.batch, NOW, setting.given()).value.backward()
        for module in (*model.bodies.values(), *model.heads.values(), parts):
            for path, parameter in module.named_parameters():
                assert parameter.grad is not None and parameter.grad.any(), path


@every_one
def test_heads_that_stay_are_used_again(cls: type[Objective], setting: Setting) -> None:
    for objective in (example(cls), *samples(cls, 3)):
        model = setting.model(objective)
        kept = objective.heads(made(objective, model))
        later = replace(model, heads={**model.heads, **kept})
        again = objective.heads(made(objective, later))
        assert again.keys() == kept.keys()
        assert all(again[name] is kept[name] for name in kept)


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
