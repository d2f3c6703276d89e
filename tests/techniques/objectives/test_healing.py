"""Healing: nothing to heal where nothing changed, each term by hand, and one pass for all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.bases import TASK, base, batch, given
from tests.contracts.layouts import layout_of
from tests.contracts.tasks import CLASSES, Through, batch_of, documents, model_of
from tests.contracts.tasks import given as given_of
from vitruvius.contracts import Batch, Corrupted, Loss, Model, Progress, Stream
from vitruvius.techniques.adapters import LowRankTwin
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers.factored import FactoredLinear, split
from vitruvius.techniques.objectives import Healing, Supervised
from vitruvius.techniques.objectives.healing import largest_errors
from vitruvius.train.adapting import attach

NOW = Progress(0, 0, 12, 0.0)
TAPS = ("layer.0", "layer.1")


def healed(objective: Healing, model: Model, teacher: Model, lengths: Any = (9, 4, 7)) -> Loss:
    seen, asked = batch(lengths), given().but(task=TASK, models={"teacher": teacher})
    model.heads["task"].eval(), teacher.heads["task"].eval()
    return objective.loss(model, nn.Module(), Corrupted(seen, seen.fields), NOW, asked)


def test_its_teacher_has_nothing_to_heal() -> None:
    everything = Healing(1.0, 1.0, 1.0, margin=0.0, taps=TAPS)
    parts = healed(everything, base("ours"), base("ours")).parts
    assert parts["features"] == parts["logits"] == parts["weights"] == 0
    whole = FactoredLinear(*split(torch.eye(16), 16), None)
    body: Any = Through(nn.Linear(16, 16, bias=False))
    with torch.no_grad():
        body.network.weight.copy_(whole.weight)
    teacher = Model({"input": body}, {}, base("ours").lineage)
    assert largest_errors(Model({"input": Through(whole)}, {}, teacher.lineage), teacher, 0.0) == 0


def test_each_term_by_hand() -> None:
    teacher, model = base("ours"), attach(LowRankTwin(4.0), base("ours"), given()).model
    loss = healed(Healing(2.0, 3.0, 5.0, margin=0.01, taps=("layer.1",)), model, teacher)
    stream, real = batch().streams["input"], batch().streams["input"].layout.segments > 0
    mine = model.bodies["input"](stream, frozenset({"layer.1"}))
    theirs = teacher.bodies["input"](stream, frozenset({"layer.1"}))
    pairs = ((mine.hidden, theirs.hidden), (mine.taps["layer.1"], theirs.taps["layer.1"]))
    rows = torch.stack(
        [torch.stack([(a - b)[i, real[i]].square().mean() for i in range(3)]) for a, b in pairs]
    ).mean(0)
    logits = (model.heads["task"](mine, batch()) - teacher.heads["task"](theirs, batch())).square()
    thin = {n: m for n, m in model.bodies["input"].named_modules() if isinstance(m, FactoredLinear)}
    errors = [
        (m.weight - teacher.bodies["input"].get_parameter(f"{n}.weight")).abs().max()
        for n, m in thin.items()
    ]
    weights = torch.stack([(error - 0.01) ** 2 for error in errors]).mean()
    asked = given().but(task=TASK)
    task = Supervised().loss(model, nn.Module(), Corrupted(batch(), batch().fields), NOW, asked)
    assert loss.per_row is not None and task.per_row is not None
    expected = task.per_row + 2 * rows + 3 * logits.mean(1) + 5 * weights
    torch.testing.assert_close(loss.per_row, expected)
    assert len(thin) == 12


def test_padding_does_not_count() -> None:
    teacher, model = base("ours", 1), base("ours")
    model.heads["task"].eval(), teacher.heads["task"].eval()
    both = batch((4, 9))
    ids = both.streams["input"].values[:1, :4]
    alone = Batch(
        {"input": Stream(ids, layout_of([[4]]))}, {"label": torch.zeros(1).long()}, ids[0]
    )
    asked = given().but(task=TASK, models={"teacher": teacher})
    found = [
        Healing(1.0, 1.0, taps=TAPS).step(model, nn.Module(), seen, NOW, asked).per_row
        for seen in (both, alone)
    ]
    assert found[0] is not None and found[1] is not None
    torch.testing.assert_close(found[0][0], found[1][0])


def test_one_pass_of_the_model_serves_all_terms() -> None:
    model, calls = base("ours"), []
    model.bodies["input"].register_forward_hook(lambda *_: calls.append(1))
    healed(Healing(1.0, 1.0, 1.0, taps=TAPS), model, base("ours", 1))
    assert len(calls) == 1


def test_the_teacher_gets_no_gradient() -> None:
    teacher, model = base("ours", 1), attach(LowRankTwin(), base("ours"), given()).model
    healed(Healing(1.0, 1.0, 1.0), model, teacher).value.backward()
    assert all(p.grad is None for p in teacher.bodies["input"].parameters())
    assert all(p.grad is not None for p in model.bodies["input"].parameters() if p.requires_grad)


def test_without_a_teacher_it_says_so() -> None:
    seen = batch_of(documents(CLASSES))
    asked = given_of(CLASSES).but(models={"base": model_of(Readout(), CLASSES)})
    with pytest.raises(ValueError, match=r"give it as models\['teacher'\]; there is \['base'\]"):
        Healing().step(model_of(Readout(), CLASSES), nn.Module(), seen, NOW, asked)


def test_a_teacher_of_another_task_has_other_logits() -> None:
    teacher = base("ours")
    wide: Any = base("ours").heads["task"]
    wide.register_forward_hook(lambda part, given, made: made.repeat(1, 2))
    other = Model(teacher.bodies, {"task": wide}, teacher.lineage)
    with pytest.raises(ValueError, match=r"answers of the same task; got \[3, 3\] and \[3, 6\]"):
        healed(Healing(logits=1.0), base("ours"), other)


def test_pairs_are_refused() -> None:
    from dataclasses import replace

    seen = batch()
    pair = replace(seen, streams={**seen.streams, "text": seen.streams["input"]})
    asked = given().but(task=replace(TASK, level="pair"), models={"teacher": base("ours")})
    with pytest.raises(ValueError, match=r"reads one text of each item, and these are pairs"):
        Healing().step(base("ours"), nn.Module(), pair, NOW, asked)


@pytest.mark.parametrize("name", ["features", "logits", "weights", "margin"])
def test_factors_below_zero_are_refused(name: str) -> None:
    fields: dict[str, Any] = {name: -1.0}
    with pytest.raises(ValueError, match=rf"Healing\.{name} must not be negative; got -1\.0"):
        Healing(**fields)
