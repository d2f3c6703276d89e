"""A training that begins with another's weights: in its key, in its store, and exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vitruvius.contracts import State
from vitruvius.pipeline.code import files_behind
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting, keys_of
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.training import OVERLAP, Train, weights_digest
from vitruvius.space import from_json, to_json
from vitruvius.techniques.encoders import Pixels
from vitruvius.techniques.layers import Affine, Flatten, ReLU, Sequential
from vitruvius.techniques.optimizers import SGD

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
STILL = SGD(learning_rate=1e-12, momentum=0.0, nesterov=False, weight_decay=0.0)


def mlp(width: int) -> Sequential:
    return Sequential(Flatten(), Affine(width), ReLU(), Affine(10))


PARENT = Pipeline(Load("digits"), Train(model=mlp(8), epochs=2))


def child(width: int = 12, **fields: object) -> Pipeline:
    train = Train(model=mlp(width), epochs=1, **fields)  # type: ignore[arg-type]
    return Pipeline(Load("digits"), train, Evaluate())


def run(design: Pipeline, store: Store | None = None) -> State:
    return replace(LocalLab(SETTING), store=store).run(design, {})


def test_a_child_begins_where_its_parent_ended() -> None:
    parent = run(Pipeline(*PARENT.stages, Evaluate()))
    begun = run(child(optimizer=STILL, parent=PARENT))
    assert score_of(begun).value == score_of(parent).value
    told = {m.name: m for m in begun.measurements}[OVERLAP]
    assert (told.value, told.items, told.better) == (1.0, 65 * 12 + 13 * 10, None)
    assert all(m.name != OVERLAP for m in run(child(optimizer=STILL)).measurements)


def test_the_parent_is_in_the_key_and_its_threshold_is_not() -> None:
    def keys(design: Pipeline) -> tuple[str, str]:
        found = keys_of(design, {}, SETTING)[1]
        return found.key, found.root

    cold = keys(child())
    assert keys(child(inherit=0.8)) == cold
    warm = keys(child(parent=PARENT))
    assert warm[0] != cold[0] and warm[1] != cold[1]
    other = Pipeline(Load("digits"), Train(model=mlp(8), epochs=3))
    assert keys(child(parent=other)) != warm
    assert keys(child(parent=PARENT, inherit=0.5)) == warm


def test_a_line_is_stored_read_and_run_again_to_the_same_bits(tmp_path: Path) -> None:
    line = Pipeline(Load("digits"), Train(model=mlp(12), epochs=1, parent=PARENT))
    grandchild = child(16, parent=line)
    assert from_json(to_json(grandchild), ("vitruvius",)) == grandchild
    assert eval(repr(grandchild)) == grandchild
    alone = run(grandchild).model
    store = Store(tmp_path)
    run(line, store)
    stored = run(grandchild, store).model
    assert alone is not None and stored is not None
    assert weights_digest(stored) == weights_digest(alone)
    lab = replace(LocalLab(SETTING), store=store)
    lab.run(grandchild, {})
    assert lab.meter.spent.flops == 0


def test_fields_are_checked() -> None:
    for given in (0.0, 1.5):
        with pytest.raises(ValueError, match=rf"Train.inherit must be above 0 .* got {given}"):
            Train(model=mlp(8), inherit=given)
    with pytest.raises(
        ValueError, match=r"Train.parent must be a Pipeline that ends in Train; got"
    ):
        child(parent=Pipeline(*PARENT.stages, Evaluate()))


def test_a_parent_of_other_inputs_is_refused() -> None:
    other = Pipeline(Load("digits", split_seed=1), PARENT.stages[1])
    with pytest.raises(ValueError, match=r"Train.parent must have learned from the same items"):
        run(child(parent=other))
    with pytest.raises(ValueError, match=r"Train.parent must prepare its inputs alike; got"):
        run(child(parent=PARENT, encoder=Pixels(each="place")))


def test_only_what_inherits_stands_on_the_code_that_knows_all_layers() -> None:
    cold = Train(model=Affine(10))
    warm = cold.replace(parent=Pipeline(Load("digits"), cold))
    assert cold.stands_on() == () and warm.stands_on() == ("vitruvius.train.inheriting",)
    behind = [files_behind(("vitruvius.pipeline.training", *s.stands_on())) for s in (cold, warm)]
    assert "vitruvius.techniques.layers.conv" not in behind[0]
    assert "vitruvius.techniques.layers.conv" in behind[1]
