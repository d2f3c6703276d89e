"""Every metric equals scikit-learn's, knows its best value, and how sure it is."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from tests.contracts.common import example, name
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Metric, Predictions
from vitruvius.techniques.metrics import (
    NDCG,
    R2,
    Accuracy,
    BalancedAccuracy,
    BitsPerCharacter,
    CrossEntropy,
    MacroF1,
    MeanAbsoluteError,
    MeanReciprocalRank,
    Pearson,
    RecallAt,
    RocAuc,
    RootMeanSquaredError,
    SpanF1,
    Spearman,
)

OF_OTHER_PREDICTIONS = {
    NDCG,
    BitsPerCharacter,
    MeanReciprocalRank,
    RecallAt,
    SpanF1,
}  # tests/techniques/metrics
THEIRS: dict[type[Metric], Callable[[np.ndarray, np.ndarray], float]] = {
    Accuracy: lambda p, t: sklearn.accuracy_score(t, p.argmax(1)),
    BalancedAccuracy: lambda p, t: sklearn.balanced_accuracy_score(t, p.argmax(1)),
    MacroF1: lambda p, t: sklearn.f1_score(t, p.argmax(1), average="macro"),
    CrossEntropy: lambda p, t: sklearn.log_loss(t, p, labels=range(p.shape[1])),
    RocAuc: lambda p, t: (
        sklearn.roc_auc_score(t, p[:, 1])
        if p.shape[1] == 2
        else sklearn.roc_auc_score(t, p, multi_class="ovr", average="macro")
    ),
    RootMeanSquaredError: lambda v, t: sklearn.root_mean_squared_error(t, v),
    MeanAbsoluteError: lambda v, t: sklearn.mean_absolute_error(t, v),
    R2: lambda v, t: sklearn.r2_score(t, v),
    Pearson: lambda v, t: by_column(stats.pearsonr, v, t),
    Spearman: lambda v, t: by_column(stats.spearmanr, v, t),
}
ALL = tuple(cls for cls in catalogue(Metric) if cls not in OF_OTHER_PREDICTIONS)
NUMBERS = (RootMeanSquaredError, MeanAbsoluteError, R2, Pearson, Spearman)


def by_column(correlate: Callable[..., Any], values: np.ndarray, targets: np.ndarray) -> float:
    """Mean correlation of the numbers of an item."""
    columns = zip(
        values.reshape(len(values), -1).T, targets.reshape(len(targets), -1).T, strict=True
    )
    return float(np.mean([correlate(x, y).statistic for x, y in columns]))


def classes(items: int, count: int, seed: int, noise: float = 1.0) -> Predictions:
    """Probabilities that know something of targets, which are unevenly spread."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, count + 1) / (count * (count + 1) / 2)
    targets = np.concatenate([np.arange(count), rng.choice(count, items - count, p=share)])
    logits = noise * rng.normal(size=(items, count)) + np.eye(count)[targets]
    weights = np.exp(np.round(logits, 1))  # rounded: so that there are ties
    values = weights / weights.sum(1, keepdims=True)
    return Predictions(torch.from_numpy(values), torch.from_numpy(targets), torch.arange(items))


def numbers(items: int, seed: int, noise: float = 0.5) -> Predictions:
    rng = np.random.default_rng(seed)
    targets = 5 + 2 * rng.normal(size=items)
    values = targets + noise * rng.normal(size=items)
    return Predictions(torch.from_numpy(values), torch.from_numpy(targets), torch.arange(items))


def predictions(cls: type[Metric], items: int, seed: int, count: int = 4) -> Predictions:
    return numbers(items, seed) if cls in NUMBERS else classes(items, count, seed)


def arrays(made: Predictions) -> tuple[np.ndarray, np.ndarray]:
    assert made.targets is not None
    return made.values.numpy(), made.targets.numpy()


def rows(made: Predictions, chosen: np.ndarray) -> Predictions:
    assert made.targets is not None
    index = torch.from_numpy(chosen)
    return Predictions(made.values[index], made.targets[index], torch.arange(len(chosen)))


def test_every_metric_is_compared_with_another() -> None:
    assert set(catalogue(Metric)) == {*THEIRS, *OF_OTHER_PREDICTIONS}


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_equals_scikit_learn(cls: type[Metric], count: int) -> None:
    for seed in range(5):
        made = predictions(cls, 150, seed, count)
        measured = example(cls).measure(made)
        assert measured.value == pytest.approx(THEIRS[cls](*arrays(made)), rel=1e-9, abs=1e-12)
        assert (measured.name, measured.better) == (cls.name, cls.better)
        assert measured.items == 150


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_perfect_predictions_give_the_best_value(cls: type[Metric]) -> None:
    made = predictions(cls, 60, 0)
    assert made.targets is not None
    perfect = made.targets if cls in NUMBERS else torch.eye(4)[made.targets]
    measured = example(cls).measure(Predictions(perfect, made.targets, made.rows))
    assert measured.value == (1.0 if cls.better == "higher" else 0.0)
    assert measured.stderr == pytest.approx(0.0, abs=1e-12)
    worse = example(cls).measure(made).value
    assert worse < 1 if cls.better == "higher" else worse > 0


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_standard_error_is_that_of_resampling(cls: type[Metric]) -> None:
    made = predictions(cls, 400, 1)
    measured = example(cls).measure(made)
    rng = np.random.default_rng(0)
    again = [THEIRS[cls](*arrays(rows(made, rng.integers(0, 400, 400)))) for _ in range(300)]
    assert measured.stderr == pytest.approx(float(np.std(again)), rel=0.2)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_standard_error_shrinks_with_the_root_of_the_items(cls: type[Metric]) -> None:
    made = predictions(cls, 200, 2)
    few = example(cls).measure(made)
    many = example(cls).measure(rows(made, np.tile(np.arange(200), 16)))
    assert few.stderr is not None and many.stderr is not None
    assert many.value == pytest.approx(few.value)
    assert many.stderr == pytest.approx(few.stderr / 4, rel=0.01)
    assert many.items == 3200


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_order_of_items_does_not_matter(cls: type[Metric]) -> None:
    made = predictions(cls, 100, 3)
    order = np.random.default_rng(0).permutation(100)
    first, second = example(cls).measure(made), example(cls).measure(rows(made, order))
    assert second.value == pytest.approx(first.value)
    assert second.stderr == pytest.approx(first.stderr)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_what_it_cannot_score_is_refused(cls: type[Metric]) -> None:
    metric, right = example(cls), predictions(cls, 20, 0)
    wrong = classes(20, 3, 0) if cls in NUMBERS else numbers(20, 0)
    with pytest.raises(ValueError, match=rf"{cls.__name__} scores .* take "):
        metric.measure(wrong)
    with pytest.raises(ValueError, match=rf"{cls.__name__} needs targets; .* have none"):
        metric.measure(Predictions(right.values, None, right.rows))
    with pytest.raises(ValueError, match=rf"{cls.__name__} needs at least one prediction"):
        metric.measure(rows(right, np.arange(0)))


@pytest.mark.parametrize("cls", [c for c in ALL if c not in NUMBERS], ids=name)
def test_targets_beyond_the_classes_are_refused(cls: type[Metric]) -> None:
    made = classes(20, 3, 0)
    two = made.values[:, :2] / made.values[:, :2].sum(1, keepdim=True)
    with pytest.raises(ValueError, match=rf"{cls.__name__} needs targets from 0 to 1; got 0 to 2"):
        example(cls).measure(Predictions(two, made.targets, made.rows))


@pytest.mark.parametrize("cls", NUMBERS, ids=name)
def test_several_numbers_of_an_item_count_the_same(cls: type[Metric]) -> None:
    one, two = numbers(80, 0), numbers(80, 1)
    assert one.targets is not None and two.targets is not None
    values = torch.stack([one.values, two.values], 1)
    targets = torch.stack([one.targets, two.targets], 1)
    measured = example(cls).measure(Predictions(values, targets, one.rows))
    theirs = THEIRS[cls](values.numpy(), targets.numpy())
    if cls is RootMeanSquaredError:  # theirs is the mean of roots, ours the root of the mean
        theirs = math.sqrt(sklearn.mean_squared_error(targets.numpy(), values.numpy()))
    assert measured.value == pytest.approx(theirs)


def test_classes_that_do_not_occur_are_left_out() -> None:
    made = classes(100, 3, 0)
    assert made.targets is not None
    few = rows(made, np.flatnonzero(made.targets.numpy() > 0))
    values, targets = arrays(few)
    assert BalancedAccuracy().measure(few).value == pytest.approx(
        np.mean([(values[targets == k].argmax(1) == k).mean() for k in (1, 2)])
    )
    areas = [sklearn.roc_auc_score(targets == k, values[:, k]) for k in (1, 2)]
    assert RocAuc().measure(few).value == pytest.approx(np.mean(areas))


def test_an_area_needs_two_classes() -> None:
    with pytest.raises(ValueError, match=r"RocAuc needs items of at least two classes; .* are 1"):
        RocAuc().measure(
            Predictions(torch.tensor([[0.4, 0.6]] * 3), torch.tensor([1, 1, 1]), torch.arange(3))
        )


def test_impossible_truths_have_a_finite_surprise() -> None:
    sure = Predictions(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), torch.arange(1))
    measured = CrossEntropy().measure(sure)
    assert measured.value == pytest.approx(-math.log(np.finfo(np.float64).eps))
    assert measured.stderr is None  # one item says nothing of the spread


@pytest.mark.parametrize("cls", [Pearson, Spearman], ids=name)
def test_what_never_changes_correlates_with_nothing(cls: type[Metric]) -> None:
    made = numbers(20, 0)
    for flat in (torch.full((20,), 3.0), made.values):
        other = torch.zeros(20) if flat is made.values else made.values
        measured = cls().measure(Predictions(flat, other, made.rows))
        assert (measured.value, measured.stderr) == (0.0, 0.0)
    assert cls().measure(Predictions(-made.values, made.values, made.rows)).value == -1.0


def test_ranks_of_equal_values_and_their_spread() -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 4, 400).astype(float)
    targets = np.round(values / 2 + rng.normal(size=400))
    made = Predictions(torch.from_numpy(values), torch.from_numpy(targets), torch.arange(400))
    measured = Spearman().measure(made)
    assert measured.value == pytest.approx(stats.spearmanr(values, targets).statistic)
    again = [THEIRS[Spearman](*arrays(rows(made, rng.integers(0, 400, 400)))) for _ in range(400)]
    assert measured.stderr == pytest.approx(float(np.std(again)), rel=0.1)
    cubes = Predictions(torch.from_numpy(values**3), made.targets, made.rows)
    assert Spearman().measure(cubes).value == measured.value
    assert Pearson().measure(cubes).value != Pearson().measure(made).value


@pytest.mark.parametrize(("value", "expected"), [(3.0, 1.0), (4.0, 0.0)])
def test_r2_of_a_target_that_never_changes(value: float, expected: float) -> None:
    flat = Predictions(torch.full((5,), value), torch.full((5,), 3.0), torch.arange(5))
    assert R2().measure(flat).value == expected == sklearn.r2_score([3.0] * 5, [value] * 5)


@given(st.data())
def test_an_area_counts_pairs(data: st.DataObject) -> None:
    items = data.draw(st.integers(2, 12))
    steps = data.draw(st.lists(st.integers(0, 4), min_size=items, max_size=items))
    truth = data.draw(st.lists(st.booleans(), min_size=items, max_size=items))
    truth[:2] = [True, False]
    scores = [s / 4 for s in steps]
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, yes in zip(scores, truth, strict=True)
        if yes
        for b, no in zip(scores, truth, strict=True)
        if not no
    ]
    values = torch.tensor([[1 - s, s] for s in scores])
    made = Predictions(values, torch.tensor(truth).long(), torch.arange(items))
    assert RocAuc().measure(made).value == pytest.approx(np.mean(pairs))
