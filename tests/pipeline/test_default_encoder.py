"""Which encoder a training without one takes."""

import numpy as np
import pytest

from vitruvius.contracts import Documents
from vitruvius.pipeline.training import default_encoder
from vitruvius.techniques.encoders import Columns, Pixels


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"image": np.zeros((3, 1, 8, 8), np.uint8)}, Pixels()),
        ({"array": np.zeros((3, 8))}, Pixels()),
        ({"age": np.zeros(3), "word": np.array(["a", "b", None])}, Columns()),
        ({"image": np.zeros(3)}, Columns()),  # a table with one column of that name
    ],
)
def test_by_what_an_item_is(payload: dict, expected: object):
    assert default_encoder(Documents(payload)) == expected
