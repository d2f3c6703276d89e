"""Once a design is chosen, the validation part is learned from too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.pipeline.refitting import WithValidation, refitted, stacked
from vitruvius.pipeline.training import Train
from vitruvius.search import RandomSearch
from vitruvius.space import one_of
from vitruvius.study.budget import Budget, reserved_seconds
from vitruvius.study.journal import Journal
from vitruvius.study.settings import JOURNAL, Final
from vitruvius.study.study import Study
from vitruvius.techniques.layers import Affine, Flatten, Sequential
from vitruvius.techniques.optimizers import AdamW

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)


def design(rate: object = 0.01) -> Pipeline:
    train = Train(model=Sequential(Flatten(), Affine(10)), optimizer=AdamW(rate), epochs=2)  # type: ignore[arg-type]
    return Pipeline(Load("digits"), train, Evaluate())


def test_the_last_training_gets_both_parts() -> None:
    whole = refitted(design())
    assert whole is not None
    names = [type(stage).__name__ for stage in stages_of(whole)]
    assert names == ["Load", "WithValidation", "Train", "Evaluate"]
    before = LocalLab(SETTING).run(Load("digits"), {})
    after = LocalLab(SETTING).run(Pipeline(Load("digits"), WithValidation()), {})
    sizes = [len(before.splits[name].documents) for name in ("train", "validation")]
    both = after.splits["train"].documents
    assert len(both) == sum(sizes)
    held = before.splits["validation"].documents
    assert np.array_equal(both.attributes["label"][sizes[0] :], held.attributes["label"])
    assert after.splits["validation"].digest == held.digest
    assert refitted(Pipeline(Load("digits"), Evaluate())) is None


def test_columns_are_put_under_each_other() -> None:
    first, second = np.empty(1, object), np.empty(2, object)
    first[:], second[:] = [("a",)], [("b", "c"), ("d",)]
    one = Documents({"words": first}, {"label": np.array([[1]])})
    two = Documents(
        {"words": second},
        {"label": np.array([[2, 3], [4, 0]]), "source": np.array(["x", "y"])},
    )
    both = stacked(one, two)
    assert both.attributes["label"].tolist() == [[1, 0], [2, 3], [4, 0]]
    assert set(both.attributes) == {"label"} and len(both) == 3


def study(folder: Path, **changed: object) -> Study:
    given = {"budget": Budget(trials=2), "final": Final(top=1, seeds=0, refit=True), **changed}
    space = design(one_of(0.01, 0.001))
    return Study(space, RandomSearch(seed=0), folder=folder, seed=0, **given)  # type: ignore[arg-type]


def test_a_study_tests_the_model_of_all_labels(tmp_path: Path) -> None:
    found = study(tmp_path / "one").run()
    assert found.final is not None and found.final["refit"] is True
    folder = tmp_path / "one" / found.final["folder"]
    assert folder.name.endswith("-refit") and folder.is_dir()
    with Journal(tmp_path / "one" / JOURNAL, read_only=True) as journal:
        assert [event.kind for event in journal.read()].count("refitted") == 1
    plain = study(tmp_path / "two", final=Final(top=1, seeds=0)).run()
    assert plain.final is not None and "refit" not in plain.final
    assert plain.final["selected"] == found.final["selected"]
    assert plain.final["test"]["score"] != found.final["test"]["score"]


@pytest.mark.parametrize(("refit", "kept"), [(0.0, 2.0), (1.2, 2.0 + 1.2 * 1.25 * 10), (9.0, 2.0)])
def test_time_is_kept_for_it_where_it_is_little(refit: float, kept: float) -> None:
    from vitruvius.search.history import Event

    told = Event(1, "told", 1, {"status": "finished", "seconds": 10.0})
    assert reserved_seconds(Budget(seconds=100), [told], 0, refit=refit) == pytest.approx(kept)
