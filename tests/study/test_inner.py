"""A study inside a stage: the mean over inputs counts, and what fails is a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from vitruvius.contracts import (
    Cost,
    Documents,
    Lab,
    Measurement,
    SealedError,
    Split,
    Stage,
    State,
)
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.search import Exhaustive, RandomSearch, RegularizedEvolution
from vitruvius.space import Node, hyper, log_uniform, one_of, uniform
from vitruvius.study.inner import search_inside

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)


@dataclass(frozen=True, kw_only=True)
class Guess(Stage):
    """Scores by what it sees of its data: the mean of x, near its own number."""

    number: float = hyper(0.0, doc="what it guesses")
    better: str = hyper("higher", doc="which way")

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        if self.number > 90:
            raise RuntimeError("too far")
        x = np.asarray(inputs["before"].splits["train"].documents.payload["x"][:])
        off = abs(float(x.mean()) - self.number)
        value = off if self.better == "lower" else -off
        cost = Cost(flops=10.0, parameters=3)
        beside = Measurement("beside", 1.0)
        score = Measurement("score", value, self.better, cost=cost)  # type: ignore[arg-type]
        return replace(inputs["before"], measurements=(beside, score))


def lab(**other: Any) -> LocalLab:
    return LocalLab(SETTING, inner=search_inside, **other)


def given(*means: float) -> list[dict[str, State]]:
    made = [Documents({"x": np.full(4, mean, np.float32)}) for mean in means]
    return [{"before": State(splits={"train": Split(one)})} for one in made]


# A study inside


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_mean_over_the_inputs_counts(better: str) -> None:
    space = Guess(number=one_of(0.0, 1.0, 2.0, 3.0), better=better)
    found = lab().study(space, given(1.0, 3.0, 2.0), Exhaustive(), 10)
    assert isinstance(found.design, Guess) and found.design.number == 2.0
    assert found.better == better
    assert len(found.tried) == 4 and len(found.states) == 3
    best = next(one for one in found.tried if one.point == found.point)
    assert [abs(score) for score in best.scores] == [1.0, 1.0, 0.0]
    assert abs(best.score) == pytest.approx(2 / 3)
    assert best.cost.flops == 30.0 and best.cost.parameters == 3


def test_random_draws_are_those_of_random_search() -> None:
    space = Guess(number=log_uniform(0.1, 10.0))
    alone, by_name = (lab().study(space, given(1.0), s, 6) for s in (None, RandomSearch()))
    assert [t.point for t in alone.tried] == [t.point for t in by_name.tried]
    other = lab().study(space, given(1.0), RandomSearch(seed=1), 6)
    assert [t.point for t in alone.tried] != [t.point for t in other.tried]


def test_a_searcher_hears_the_scores() -> None:
    space = Guess(number=log_uniform(0.1, 10.0))
    found = lab().study(space, given(2.0), RegularizedEvolution(), 40)
    drawn = lab().study(space, given(2.0), None, 40)
    late = [np.median([-t.score for t in f.tried[20:]]) for f in (found, drawn)]
    assert late[0] < late[1]


def test_a_design_that_fails_is_a_result() -> None:
    found = lab().study(Guess(number=one_of(99.0, 1.0)), given(1.0), Exhaustive(), 5)
    failed = [one for one in found.tried if one.cause]
    assert [one.cause for one in failed] == ["RuntimeError: too far"]
    assert np.isnan(failed[0].score) and failed[0].scores == ()
    with pytest.raises(ValueError, match=r"None of 1 designs could be run; the first: .*too far"):
        lab().study(Guess(number=one_of(98.0, 99.0)), given(1.0), None, 1)


@dataclass(frozen=True, kw_only=True)
class Even(Guess):
    """Whole and even, or infeasible."""

    def check(self) -> None:
        if self.number % 2:
            raise ValueError("Even.number must be even.")


def test_an_infeasible_point_is_asked_again_and_does_not_count() -> None:
    space = Even(number=one_of(1.0, 2.0, 3.0, 4.0))
    found = lab().study(space, given(4.0), None, 12)
    assert len(found.tried) == 12 and {t.score for t in found.tried} <= {0.0, -2.0}
    with pytest.raises(ValueError, match="1000 designs in a row were infeasible"):
        lab().study(Even(number=uniform(1.1, 1.9)), given(4.0), None, 1)


@pytest.mark.parametrize(
    ("inputs", "searcher", "trials", "said"),
    [
        ([], None, 3, "at least one input and one trial; got 0 and 3"),
        (given(1.0), None, 0, "got 1 and 0"),
        (given(1.0), Guess(), 3, "led by a Searcher; got Guess"),
    ],
)
def test_what_is_no_study_is_refused(
    inputs: list[Any], searcher: Node | None, trials: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        lab().study(Guess(), inputs, searcher, trials)
    with pytest.raises(ValueError, match=r"runs no studies: .* inner=search_inside"):
        LocalLab(SETTING).study(Guess(), inputs, searcher, trials)


@dataclass(frozen=True, kw_only=True)
class Sealed(Guess):
    """Reads what is sealed, as a stage with a mistake in it would."""

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        split = inputs["before"].splits["train"]
        return State(splits={"x": Split(split.documents, sealed=True)}).splits["x"].documents  # type: ignore[return-value]


def test_reading_what_is_sealed_is_no_failed_trial() -> None:
    with pytest.raises(SealedError):
        lab().study(Sealed(number=one_of(1.0, 2.0)), given(1.0), None, 3)
