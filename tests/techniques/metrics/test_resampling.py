"""Intervals cover what they should, and pairs are drawn together."""

import numpy as np
import pytest
import torch

from vitruvius.contracts import Predictions
from vitruvius.techniques.metrics import (
    Accuracy,
    MeanReciprocalRank,
    SpanF1,
    bootstrap,
    bootstrap_mean,
    paired,
)


def of_accuracy(right: np.ndarray) -> Predictions:
    """Predictions of one of two classes, right where said."""
    targets = torch.arange(len(right)) % 2
    said = torch.where(torch.from_numpy(right), targets, 1 - targets)
    return Predictions(torch.eye(2)[said], targets, torch.arange(len(right)))


def test_a_mean_has_the_spread_of_the_formula() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_mean(values, times=4000)
    assert found.value == values.mean() and found.items == 400
    assert found.stderr == pytest.approx(values.std() / 20, rel=0.05)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    general = bootstrap(lambda drawn: float(values[drawn].mean()), 400, times=4000)
    assert general.stderr == pytest.approx(found.stderr, rel=0.05)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covers = 0
    for seed in range(300):
        found = bootstrap_mean(rng.normal(size=80), times=300, level=0.9, seed=seed)
        covers += found.low <= 0 <= found.high
    assert 0.85 < covers / 300 < 0.95


def test_pairs_are_surer_than_each_alone() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(500)
    worse, better = of_accuracy(hard < 0.6), of_accuracy(hard < 0.65)
    gain = paired(Accuracy(), worse, better, times=500)
    assert gain.value == pytest.approx(((hard >= 0.6) & (hard < 0.65)).mean())
    assert gain.low > 0  # though the two intervals overlap
    alone = Accuracy().measure(worse).stderr
    assert alone is not None and gain.stderr < alone / 1.5
    same = paired(Accuracy(), worse, worse, times=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    back = paired(Accuracy(), better, worse, times=500)
    assert (back.low, back.high) == (-gain.high, -gain.low)


def test_rankings_are_compared_by_query() -> None:
    pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    targets = torch.arange(60)
    noise = torch.from_numpy(rng.normal(size=(60, 60)))
    one, two = (
        Predictions(noise + strength * torch.eye(60), targets, targets) for strength in (1.0, 3.0)
    )
    gain = paired(MeanReciprocalRank(), one, two)
    values = [MeanReciprocalRank().measure(p) for p in (one, two)]
    assert gain.value == pytest.approx(values[1].value - values[0].value)
    difference = values[1].details["items"] - values[0].details["items"]
    assert gain.stderr == pytest.approx(difference.std() / 60**0.5, rel=0.1)
    assert gain.low > 0


def test_the_words_of_a_sentence_are_drawn_together() -> None:
    tags = ("O", "B-X", "I-X")
    true = torch.tensor([1, 2, 0] * 40)
    rows = torch.arange(40).repeat_interleave(3)
    said = true.clone()
    said[1::6] = 0  # half of the entities are cut short
    one, two = (Predictions(torch.eye(3)[t], true, rows) for t in (said, true))
    gain = paired(SpanF1(tags), one, two, times=300)
    assert gain.value == pytest.approx(0.5) and gain.items == 40
    assert gain.stderr == pytest.approx((0.5 * 0.5 / 40) ** 0.5, rel=0.15)


def test_what_cannot_be_compared_is_refused() -> None:
    some = of_accuracy(np.array([True, False, True]))
    other = Predictions(some.values, 1 - torch.arange(3) % 2, some.rows)
    with pytest.raises(ValueError, match="same items in the same order"):
        paired(Accuracy(), some, other)
    with pytest.raises(ValueError, match="at least 2 items, 2 draws and a level"):
        bootstrap_mean(np.ones(1))
    with pytest.raises(ValueError, match=r"one value for each item; got \(2, 2\)"):
        bootstrap_mean(np.ones((2, 2)))
