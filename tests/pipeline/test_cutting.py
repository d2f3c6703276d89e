"""A pipeline up to a share of its horizon."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.study.spaces import tiny
from vitruvius.pipeline.cutting import cut, cuttable
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.keys import Setting, keys_of
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.pipeline.training import Train
from vitruvius.space import one_of
from vitruvius.techniques.layers import Affine, Flatten, Sequential

NETWORK = Sequential(Flatten(), Affine(10))
SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)


def untils(design: Any) -> list[int | None]:
    return [stage.until for stage in stages_of(design) if isinstance(stage, Train)]


def trained(*epochs: int) -> Pipeline:
    stages = [Train(epochs=n, model=NETWORK) for n in epochs]
    return Pipeline(Load("digits"), *stages, Evaluate())


@pytest.mark.parametrize(
    ("epochs", "share", "until"),
    [(9, 1 / 9, 1), (9, 1 / 3, 3), (20, 1 / 9, 2), (20, 1 / 3, 7), (4, 0.01, 1), (10, 0.95, None)],
)
def test_a_training_stands_still_after_its_share_of_epochs(
    epochs: int, share: float, until: int | None
) -> None:
    design = cut(trained(epochs), share)
    assert (None if design is None else untils(design)) == (None if until is None else [until])


def test_what_has_no_rung_runs_whole() -> None:
    assert cut(trained(9), 1.0) is None
    assert cut(trained(1), 1 / 9) is None
    assert cut(Pipeline(Load("digits"), Evaluate()), 1 / 9) is None
    assert cut(trained(9), 1 / 9, "Pretrain") is None


def test_the_last_stage_with_a_rung_is_cut() -> None:
    design = cut(trained(9, 6, 1), 1 / 3)
    assert design is not None and untils(design) == [None, 2, None]
    assert cut(Train(epochs=9, model=NETWORK), 1 / 3) == Train(epochs=9, model=NETWORK, until=3)


def test_the_key_of_the_work_stays() -> None:
    whole = trained(9)
    parts = [cut(whole, share) for share in (1 / 9, 1 / 3)]
    keyed = [keys_of(p, {}, SETTING) for p in (*parts, whole) if p is not None]
    assert len({one[1].key for one in keyed}) == 1
    assert len({one[1].state for one in keyed}) == 3  # the rungs and the end


def test_shares_are_checked() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="must be above 0 and at most 1; got"):
            cut(trained(9), share)


def test_stages_that_can_be_cut_are_found_in_a_space() -> None:
    assert cuttable(tiny(), ("vitruvius",)) == ["Train"]
    hidden = Pipeline(Load("digits"), one_of(Train(epochs=2, model=NETWORK), Evaluate()))
    assert cuttable(hidden, ("vitruvius",)) == ["Train"]
    assert cuttable(Pipeline(Load("digits"), Evaluate()), ("vitruvius",)) == []
