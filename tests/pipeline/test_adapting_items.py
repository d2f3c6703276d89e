"""A trained network of images is adapted as one of texts is: from rungs, frozen, saved, refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Limits, Model, Split, State, Task
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.judging import answers
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.saving import load_model, save_state
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.training import Train, weights_digest
from vitruvius.space import Infeasible
from vitruvius.techniques.adapters import (
    BitFit,
    Bottleneck,
    FullTuning,
    LastLayers,
    LinearProbe,
    LowRank,
)
from vitruvius.techniques.heads import PooledReadout, Readout
from vitruvius.techniques.layers import (
    Attention,
    BatchNorm,
    Block,
    Conv,
    Encoder,
    Patches,
    Sequential,
)
from vitruvius.techniques.metrics import Accuracy
from vitruvius.techniques.optimizers import AdamW
from vitruvius.train import frozen
from vitruvius.train.checkpoint import digest_of

CPU = torch.device("cpu")
SETTING = Setting(0, CPU, torch.float32, 1)
PATCHES = Encoder(Patches(16, 4), (Block(Attention(2)), Block(Attention(2))), positions=None)
TRAIN = Train(model=PATCHES, head=PooledReadout(dense=False), epochs=1)
ADAPT = Adapt(epochs=3, optimizer=AdamW(5e-3))


@pytest.fixture(scope="module")
def loaded() -> State:
    """Scikit-learn's digits, 300 in each part that is open."""
    state = LocalLab(SETTING).run(Load("digits"), {})
    return changed(state, lambda documents: documents.take(np.arange(300)))


@pytest.fixture(scope="module")
def trained(loaded: State) -> State:
    return run(TRAIN, loaded)


def changed(state: State, change: Callable[[Documents], Documents]) -> State:
    """With other documents in the parts that are open."""
    splits = {
        name: split if split.sealed else Split(change(split.documents))
        for name, split in state.splits.items()
    }
    return replace(state, splits=splits, digest="changed")


def run(stage: Any, before: State, **changes: Any) -> State:
    return replace(LocalLab(SETTING), **changes).run(stage, {"before": before})


def model_of(state: State) -> Model:
    assert state.model is not None
    return state.model


def body_digest(state: State) -> str:
    return digest_of(model_of(state).bodies["input"].state_dict())


@pytest.mark.parametrize(
    "adapter",
    [FullTuning(), BitFit(), LastLayers(1), LinearProbe()],
    ids=lambda adapter: type(adapter).__name__,
)
def test_a_trained_network_is_adapted(adapter: Any, trained: State) -> None:
    before = body_digest(trained)
    stage = ADAPT.replace(adapter=adapter, optimizer=AdamW(1e-2), epochs=3)
    state = run(Pipeline(stage, Evaluate()), trained)
    model = model_of(state)
    assert body_digest(trained) == before, "the model before stays as it is"
    assert (body_digest(state) == before) == isinstance(adapter, LinearProbe)
    assert all(p.requires_grad for p in model.bodies["input"].parameters())
    assert score_of(state).value > 0.15
    epochs = next(m for m in state.measurements if m.name == "epochs" and m.items == 900)
    assert epochs.cost.parameters == sum(p.numel() for p in model.bodies["input"].parameters())
    kept = state.splits["train"].documents.digest
    assert model.lineage.data[-1] == kept and len(model.lineage.stages) == 3


def test_other_classes_get_a_head_of_their_own(trained: State) -> None:
    """The model of a state that is given, on a task that is not its own."""

    def halved(documents: Documents) -> Documents:
        return Documents(documents.payload, {"label": documents.attributes["label"] // 5})

    task = Task("halves", "item", ("low", "high"), metric=Accuracy())
    given = State(model=trained.model, task=task, splits=changed(trained, halved).splits)
    state = run(Pipeline(ADAPT, Evaluate()), given)
    assert score_of(state).value > 0.6
    made = answers(state, given.splits["validation"].documents, CPU, torch.float32)
    assert made.values.shape == (300, 2)


def test_a_probe_reads_each_image_once_and_gives_the_same(
    trained: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = ADAPT.replace(adapter=LinearProbe())
    kept = run(stage, trained)
    monkeypatch.setattr(frozen, "MOST_BYTES", 0)
    anew = run(stage, trained)
    one, two = (model_of(state).heads["task"].state_dict() for state in (kept, anew))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_from_a_rung_it_goes_on_to_the_same_bits_and_costs_the_rest(
    trained: State, tmp_path: Path
) -> None:
    stage = ADAPT.replace(adapter=LastLayers(1))
    whole = run(stage, trained)
    lab = replace(LocalLab(SETTING), store=Store(tmp_path / "store"))
    part = lab.run(stage.replace(until=1), {"before": trained})
    spent = lab.meter.spent.flops
    later = lab.run(stage, {"before": trained})
    assert weights_digest(model_of(part)) != weights_digest(model_of(later))
    assert weights_digest(model_of(later)) == weights_digest(model_of(whole))
    cost = next(m.cost.flops for m in whole.measurements[::-1] if m.name == "epochs")
    assert 0 < spent < lab.meter.spent.flops <= 1.01 * cost


def test_a_convolutional_network_is_adapted_too(loaded: State) -> None:
    network = Sequential(Conv(8), BatchNorm(), Conv(8, stride=2))
    train = Train(model=network, head=Readout(), epochs=1)
    state = run(Pipeline(train, ADAPT.replace(adapter=BitFit()), Evaluate()), loaded)
    probe = run(Pipeline(train, ADAPT.replace(adapter=LinearProbe())), loaded)
    alone = run(train, loaded)
    assert body_digest(probe) == body_digest(alone) != body_digest(state)


@pytest.mark.parametrize(
    ("adapter", "stages"),
    [(FullTuning(), (TRAIN,)), (Bottleneck(4), (TRAIN,)), (LowRank(2), ())],
    ids=["in its weights", "beside them", "of a model that no stage trained"],
)
def test_what_was_adapted_is_saved_and_opened(
    adapter: Any, stages: tuple[Any, ...], trained: State, tmp_path: Path
) -> None:
    stage = ADAPT.replace(adapter=adapter, epochs=1)
    design = Pipeline(Load("digits"), *stages, stage, Evaluate())
    state = run(stage, trained)
    save_state(tmp_path / "model", design, state)
    saved = load_model(tmp_path / "model", design, CPU)
    assert saved.shape == (1, 8, 8)
    documents = trained.splits["validation"].documents
    one, two = (
        answers(replace(state, model=m), documents, CPU, torch.float32).values
        for m in (state.model, saved.model)
    )
    assert torch.equal(one, two)


def test_what_cannot_be_is_told(loaded: State, trained: State) -> None:
    with pytest.raises(ValueError, match=r"There is no model to go on with: .* Train before"):
        run(ADAPT, loaded)
    with pytest.raises(ValueError, match=r"needs labelled items: .* or put Load before"):
        run(ADAPT, replace(trained, task=None))
    with pytest.raises(Infeasible, match=r"LastLayers.count must be at most .* 2; got 9"):
        run(ADAPT.replace(adapter=LastLayers(9)), trained)
    with pytest.raises(Infeasible, match=r"parameters exceed the limit of 10"):
        run(ADAPT, trained, limits=Limits(max_parameters=10))
    with pytest.raises(Infeasible, match=r"FLOPs of training exceed the limit of 1e\+03"):
        run(ADAPT, trained, limits=Limits(max_flops=1e3))
