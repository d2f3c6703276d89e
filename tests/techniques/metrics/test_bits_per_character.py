"""Bits of a text, by its characters."""

import math

import numpy as np
import pytest
import torch

from vitruvius.contracts import Predictions
from vitruvius.techniques.metrics import BitsPerCharacter, bootstrap


def made(nats: list[float], characters: list[float]) -> Predictions:
    values, targets = (torch.tensor(x, dtype=torch.float64) for x in (nats, characters))
    return Predictions(values, targets, torch.arange(len(values)))


def test_a_byte_that_is_guessed_among_256_takes_8_bits() -> None:
    measured = BitsPerCharacter().measure(made([10 * math.log(256), 5 * math.log(256)], [10, 5]))
    assert measured.value == pytest.approx(8.0) and measured.stderr == pytest.approx(0.0)
    assert measured.better == "lower" and measured.items == 2


def test_long_texts_count_by_their_length_and_the_error_is_that_of_a_ratio() -> None:
    rng = np.random.default_rng(0)
    characters = rng.integers(20, 400, 300).astype(float)
    nats = characters * rng.normal(1.5, 0.3, 300)
    predictions = made(nats.tolist(), characters.tolist())
    measured = BitsPerCharacter().measure(predictions)
    assert measured.value == pytest.approx(nats.sum() / math.log(2) / characters.sum())
    drawn = bootstrap(
        lambda rows: float(nats[rows].sum() / math.log(2) / characters[rows].sum()), 300
    )
    assert measured.stderr == pytest.approx((drawn.high - drawn.low) / 3.92, rel=0.15)


def test_empty_texts_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="needs texts with a character"):
        BitsPerCharacter().measure(made([0.0], [0.0]))
