"""Metrics of rankings: by hand, against formulas written anew, and where nothing is known."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.contracts import Metric, Predictions
from vitruvius.techniques.metrics import NDCG, MeanReciprocalRank, RecallAt

pytest.importorskip("ir_measures")
ALL = (MeanReciprocalRank(), MeanReciprocalRank(3), RecallAt(3), NDCG(4))


def predictions(scores: list[list[float]], targets: list) -> Predictions:
    values = torch.tensor(scores, dtype=torch.float64)
    return Predictions(values, torch.tensor(targets), torch.arange(len(scores)))


def test_a_worked_example() -> None:
    made = predictions([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4], [0.5, 0.7, 0.6]], [0, 0, 2])
    # ranks of the answers: 1, 3, 2
    measured = MeanReciprocalRank().measure(made)
    assert measured.value == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    assert measured.details["items"] == pytest.approx([1, 1 / 3, 1 / 2])
    assert measured.stderr == pytest.approx(np.std([1, 1 / 3, 1 / 2], ddof=1) / 3**0.5)
    assert (measured.name, measured.items) == ("mean_reciprocal_rank", 3)
    assert MeanReciprocalRank(2).measure(made).value == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert MeanReciprocalRank(2).measure(made).name == "mean_reciprocal_rank@2"
    assert RecallAt(1).measure(made).value == pytest.approx(1 / 3)
    assert RecallAt(2).measure(made).value == pytest.approx(2 / 3)
    assert RecallAt(2).measure(made).name == "recall@2"
    gains = [1, 1 / np.log2(4), 1 / np.log2(3)]
    assert NDCG(3).measure(made).value == pytest.approx(np.mean(gains))


def test_grades_count_in_a_gain() -> None:
    made = predictions([[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 3]])
    got = 1 / np.log2(3) + 3 / np.log2(5)
    assert NDCG(4).measure(made).value == pytest.approx(got / (3 + 1 / np.log2(3)))
    assert MeanReciprocalRank().measure(made).value == 0.5
    assert RecallAt(2).measure(made).value == 0.5


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), queries=st.integers(1, 5), items=st.integers(1, 9))
def test_they_equal_formulas_written_otherwise(seed: int, queries: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.arange(queries * items)).reshape(queries, items).astype(float)
    grades = rng.integers(0, 3, (queries, items))
    grades[:, 0] = np.maximum(grades[:, 0], 1)
    made = predictions(scores.tolist(), grades.tolist())
    ranks = 1 + (scores[:, None, :] > scores[:, :, None]).sum(2)
    first = np.where(grades > 0, ranks, 10**9).min(1)
    assert MeanReciprocalRank().measure(made).value == pytest.approx((1 / first).mean())
    within = ((ranks <= 3) & (grades > 0)).sum(1) / (grades > 0).sum(1)
    assert RecallAt(3).measure(made).value == pytest.approx(within.mean())
    gain = np.where(ranks <= 3, grades / np.log2(ranks + 1), 0).sum(1)
    best = np.sort(grades, 1)[:, ::-1][:, :3]
    most = (best / np.log2(np.arange(best.shape[1]) + 2)).sum(1)
    assert NDCG(3).measure(made).value == pytest.approx((gain / most).mean())


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_knowing_nothing_earns_nothing(metric: Metric) -> None:
    items = 50
    flat = predictions([[0.0] * items] * items, list(range(items)))
    expected = 1 / items if metric == MeanReciprocalRank() else 0.0
    assert metric.measure(flat).value == pytest.approx(expected)
    perfect = predictions(torch.eye(items).tolist(), list(range(items)))
    assert metric.measure(perfect).value == 1.0


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_queries_without_an_answer_are_left_out(metric: Metric) -> None:
    some = predictions([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]], [[0, 0, 1], [0, 0, 0]])
    measured = metric.measure(some)
    assert measured.items == 1 and measured.stderr is None
    assert measured.details["queries"].tolist() == [0]
    with pytest.raises(ValueError, match="needs a query with an answer; all grades are 0"):
        metric.measure(predictions([[0.1, 0.9]], [[0, 0]]))


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_what_it_cannot_score_is_refused(metric: Metric) -> None:
    name = type(metric).__name__
    right = predictions([[0.1, 0.2]], [0])
    with pytest.raises(ValueError, match=rf"{name} needs targets; these predictions have none"):
        metric.measure(Predictions(right.values, None, right.rows))
    with pytest.raises(ValueError, match=rf"{name} scores \[queries items\] .*float32"):
        metric.measure(predictions([[0.1, 0.2]], [0.5]))
    with pytest.raises(ValueError, match=rf"{name} needs one item below 2 .* got 1 up to 2"):
        metric.measure(predictions([[0.1, 0.2]], [2]))
    with pytest.raises(ValueError, match=rf"{name} needs a grade for each score"):
        metric.measure(predictions([[0.1, 0.2]], [[0, 1, 1]]))
    with pytest.raises(ValueError, match=rf"{name} needs scores that are numbers"):
        metric.measure(predictions([[0.1, float("nan")]], [0]))


def test_a_depth_is_at_least_one() -> None:
    for made, field in ((RecallAt, "k"), (NDCG, "k"), (MeanReciprocalRank, "cutoff")):
        with pytest.raises(ValueError, match=rf"{made.__name__}\.{field} must be at least 1"):
            made(0)


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(ValueError, match=r"pip install 'vitruvius\[retrieval\]'"):
        NDCG().measure(predictions([[0.1, 0.2]], [0]))
