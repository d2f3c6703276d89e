"""Rows of stages: flat, nested, and chosen."""

import pytest
import torch

from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.keys import Setting, keys_of
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.pipeline.training import Train
from vitruvius.space import enumerate_points, one_of, optional, replay
from vitruvius.techniques.layers import Affine, Flatten, Sequential

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
TRAIN = Train(model=Sequential(Flatten(), Affine(10)), epochs=1)


def test_a_pipeline_in_a_pipeline_stands_for_its_stages() -> None:
    flat = Pipeline(Load("digits"), TRAIN, Evaluate())
    nested = Pipeline(Load("digits"), Pipeline(TRAIN, Pipeline(Evaluate())))
    assert stages_of(nested) == stages_of(flat)
    assert [k.key for k in keys_of(nested, {}, SETTING)] == [
        k.key for k in keys_of(flat, {}, SETTING)
    ]


def test_a_choice_may_be_between_rows_of_stages() -> None:
    rows = one_of(Pipeline(TRAIN), Pipeline(TRAIN, optional(TRAIN)), label="way")
    space = Pipeline(Load("digits"), rows, Evaluate())
    found = [stages_of(replay(space, point)) for point in enumerate_points(space)]
    assert [len(stages) for stages in found] == [3, 3, 4]


def test_what_is_no_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="Pipeline holds stages; got Affine"):
        Pipeline(Load("digits"), Affine(3))  # type: ignore[arg-type]
