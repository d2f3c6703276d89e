"""Keys name everything that makes a result; the lab keeps the test part shut."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Lab, SealedError, Split, Stage, State, Task
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting, content_digest, keys_of, stage_key
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.saving import WEIGHTS, load_model, save_state
from vitruvius.pipeline.training import Train, encode, weights_digest
from vitruvius.space import one_of
from vitruvius.techniques.layers import Affine, Conv, Flatten, ReLU, Sequential
from vitruvius.techniques.metrics import Accuracy, MacroF1
from vitruvius.techniques.optimizers import SGD
from vitruvius.train.checkpoint import CheckpointError
from vitruvius.train.feeding import Feed
from vitruvius.train.predicting import predict

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
LINEAR = Sequential(Flatten(), Affine(10))


def key(stage: Stage, setting: Setting = SETTING, **inputs: str) -> str:
    return stage_key(stage, inputs or {"before": "a"}, setting)


def test_every_ingredient_changes_the_key() -> None:
    base = Train(model=LINEAR)
    keys = [
        key(base),
        key(Train(model=Sequential(Flatten(), Affine(11)))),
        key(base.replace(batch_size=32)),
        key(base.replace(optimizer=SGD())),
        key(base.replace(seed=1)),
        key(base, before="b"),
        key(base, other="a"),
        key(base, replace(SETTING, seed=2)),
        key(base, replace(SETTING, threads=2)),
        key(base, replace(SETTING, precision=torch.bfloat16)),
        key(base, replace(SETTING, device=torch.device("cuda"))),
    ]
    assert len(set(keys)) == len(keys)


def test_what_does_not_change_the_result_does_not_change_the_key() -> None:
    base = Train(model=LINEAR)
    assert key(base) == key(Train(model=LINEAR, batch_size=64, label="first"))
    assert key(base.replace(seed=0)) == key(base)  # the study's own, written out
    assert key(base.replace(seed=1)) == key(base, replace(SETTING, seed=1))
    on_card_one = replace(SETTING, device=torch.device("cuda:1"))
    assert key(base, on_card_one) == key(base, replace(SETTING, device=torch.device("cuda:0")))


def test_stages_that_begin_alike_have_one_origin() -> None:
    """What follows is the first seed: of weights that several trainings begin with."""

    def origins(rate: float, setting: Setting = SETTING, **load: int) -> list[str]:
        design = Pipeline(Load("digits", **load), Train(model=LINEAR, optimizer=SGD(rate)))
        return [one.origin for one in keys_of(design, {}, setting)]

    first = origins(0.1)
    assert origins(0.2) == first and len(set(first)) == 2
    assert origins(0.1, replace(SETTING, seed=1))[1] != first[1]
    assert origins(0.1, seed=1)[1] != first[1]
    one, two = (replace(LocalLab(SETTING), root=r, origin="same") for r in ("a", "b"))
    assert one.first_seed == two.first_seed != replace(one, origin="other").first_seed
    assert one.seed != two.seed


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("x,y\n1,2\n")
    second.write_text("x,y\n1,2\n")
    assert key(Load(str(first))) == key(Load(str(second)))
    before = key(Load(str(first)))
    first.write_text("x,y\n1,3\n")
    assert key(Load(str(first))) != before
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "one").write_text("1")
    empty = content_digest(str(folder))
    (folder / "one").rename(folder / "two")
    assert content_digest(str(folder)) != empty


@dataclass(frozen=True)
class Peeking(Stage):
    """Tries to read what it may not."""

    part: str = "test"

    def run(self, inputs: dict[str, State], lab: Lab) -> State:  # type: ignore[override]
        _ = inputs["before"].splits[self.part].documents
        return inputs["before"]


class Poison:
    """A column that may not be looked at."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, rows: object) -> object:
        raise AssertionError("the test part was read")


def test_no_stage_reaches_the_test_part() -> None:
    lab = LocalLab(SETTING)
    with pytest.raises(SealedError, match="sealed"):
        lab.run(Pipeline(Load("digits"), Peeking()), {})
    lab.run(Pipeline(Load("digits"), Peeking("validation")), {})


def test_a_whole_pipeline_does_not_touch_a_poisoned_test_part() -> None:
    lab = LocalLab(SETTING)
    before = lab.run(Load("digits"), {})
    poison = Documents({"image": Poison()}, {"label": np.zeros(3, np.int64)}, digest="poison")
    splits = {**before.splits, "test": Split(poison, sealed=True)}
    poisoned = replace(before, splits=splits)
    state = lab.run(
        Pipeline(Train(model=LINEAR, epochs=1), Evaluate(also=(MacroF1(),))), {"before": poisoned}
    )
    assert score_of(state).name == "accuracy"
    with pytest.raises(SealedError):
        lab.evaluate(state, Accuracy(), "test")


@dataclass(frozen=True)
class Taught(Stage):
    """Reads the state of an inner pipeline."""

    teacher: Pipeline = field(default_factory=lambda: Pipeline(Load("digits")))

    def run(self, inputs: dict[str, State], lab: Lab) -> State:  # type: ignore[override]
        return replace(inputs["before"], fitted={}, digest=inputs["teacher"].digest)


def test_a_field_may_hold_a_pipeline_and_is_part_of_the_key() -> None:
    lab = LocalLab(SETTING)
    first = lab.run(Pipeline(Load("digits"), Taught()), {})
    other = Taught(teacher=Pipeline(Load("digits", validation=0.3)))
    second = lab.run(Pipeline(Load("digits"), other), {})
    assert first.digest != second.digest


def test_a_pipeline_holds_stages_only() -> None:
    with pytest.raises(ValueError, match=r"A layer goes into Train\(model=\.\.\.\)"):
        Pipeline(Load("digits"), LINEAR)  # type: ignore[arg-type]


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    network = Sequential(Conv(4), ReLU(), Flatten(), Affine(10))
    design = Pipeline(Load("digits"), Train(model=network, epochs=1), Evaluate())
    state = LocalLab(SETTING).run(design, {})
    digest = save_state(tmp_path, design, state)
    saved = load_model(tmp_path, design, torch.device("cpu"))
    model, task, shape = saved.model, saved.task, saved.shape
    assert state.model is not None and shape == (1, 8, 8)
    assert weights_digest(model) == digest == weights_digest(state.model)
    held = state.splits["validation"].documents
    assert isinstance(task, Task)
    ours = Feed.of(encode(state.model.prepared, held), torch.device("cpu"))
    theirs = Feed.of(encode(model.prepared, held), torch.device("cpu"))
    assert torch.equal(ours.inputs, theirs.inputs)
    assert torch.equal(
        predict(state.model, ours, task, torch.float32).values,
        predict(model, theirs, task, torch.float32).values,
    )


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    design = Pipeline(Load("digits"), Train(model=LINEAR, epochs=1), Evaluate())
    save_state(tmp_path, design, LocalLab(SETTING).run(design, {}))
    path = tmp_path / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(CheckpointError):
        load_model(tmp_path, design, torch.device("cpu"))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(tmp_path, design, torch.device("cpu"))


def test_the_space_of_a_stage_has_its_decisions_in_order() -> None:
    from vitruvius.space import compile

    space = Train.space(model=Sequential(Flatten(), Affine(one_of(4, 8)), Affine(10)))
    addresses = [d.address for d in compile(space).unfold()]
    own = ["optimizer", "schedule", "batch_size", "epochs"]
    assert addresses[:4] == own and addresses[-1] == "model.affine.width"
