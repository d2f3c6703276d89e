"""Pixels: mean 0 and deviation 1 on the training part, by channel or place."""

import numpy as np
import pytest

from vitruvius.contracts import Documents, Given
from vitruvius.techniques.encoders import Pixels


def encode(encoder: Pixels, train: np.ndarray, new: np.ndarray) -> np.ndarray:
    fitted = encoder.fit(Given(documents=Documents({"image": train})))
    return encoder.apply(Documents({"image": new}), Given(fitted=fitted)).payload["input"][:]


@pytest.mark.parametrize("each", ["channel", "place"])
@pytest.mark.parametrize("shape", [(700, 3), (700, 3, 5), (700, 3, 5, 4)])
def test_mean_0_and_deviation_1(each: str, shape: tuple[int, ...]):
    x = np.random.default_rng(0).gamma(2.0, 3.0, shape).astype(np.float32) + 1000
    made = encode(Pixels(each), x, x)
    axes = (0,) if each == "place" else tuple(i for i in range(len(shape)) if i != 1)
    assert made.shape == shape and made.dtype == np.float32
    np.testing.assert_allclose(made.mean(axes, np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(made.std(axes, dtype=np.float64), 1, atol=1e-5)


def test_by_hand_and_on_new_items():
    train = np.array([[[[0, 2]]], [[[4, 2]]]], np.uint8)
    new = np.array([[[[2, 4]]]], np.uint8)
    assert encode(Pixels(), train, new)[0, 0, 0].tolist() == pytest.approx([0, 2 / np.sqrt(2)])
    assert encode(Pixels("place"), train, new)[0, 0, 0].tolist() == [0.0, 0.0]  # 2 never varied


def test_wrong_use():
    with pytest.raises(ValueError, match="channel or place; got 'image'"):
        Pixels("image")
    with pytest.raises(ValueError, match="For tables, use Columns"):
        Pixels().fit(Given(documents=Documents({"a": np.ones(3), "b": np.ones(3)})))
    with pytest.raises(ValueError, match="at least one item"):
        Pixels().fit(Given(documents=Documents({"image": np.ones((0, 1, 2, 2))})))
