"""Shapes and types of annotations are checked in every technique while tests run."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from vitruvius.space import one_of
from vitruvius.techniques.metrics.roc_auc import area
from vitruvius.techniques.optimizers import SGD
from vitruvius.techniques.schedules.plateau import falls


def test_a_wrong_shape_raises() -> None:
    right = np.array([0.1, 0.9, 0.4])
    assert area(right, np.array([False, True, False]))[0] == 1.0
    with pytest.raises(TypeCheckError):
        area(right, np.array([False, True]))
    with pytest.raises(TypeCheckError):
        area(right[:, None], np.array([False, True, False]))


def test_a_wrong_type_raises() -> None:
    with pytest.raises(TypeCheckError):
        falls((0.5, 0.4), "2")  # type: ignore[arg-type]


def test_constructors_take_domains() -> None:
    assert not SGD(momentum=one_of(0.8, 0.9)).decided
