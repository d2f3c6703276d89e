"""d90 is where a sweep first reaches the limit, and is told with the sweep."""

import pytest

from vitruvius.train.intrinsic_dimension import intrinsic_dimension

CURVE = {100: [0.70, 0.76], 10: [0.3, 0.3], 1000: [0.80, 0.80], 30: [0.5, 0.6]}


def test_it_is_the_first_that_reaches_the_limit() -> None:
    found = intrinsic_dimension(CURVE, [0.8])
    assert (found.dimension, found.above) == (100, 30)
    assert found.limit == pytest.approx(0.72)
    assert found.sweep == ((10, 0.3), (30, 0.55), (100, 0.73), (1000, 0.8))
    assert str(found) == (
        "30 < d90 <= 100 (limit 0.720; 10: 0.300, 30: 0.550, 100: 0.730, 1000: 0.800)"
    )


def test_where_none_reaches_it_the_largest_is_too_small() -> None:
    found = intrinsic_dimension(CURVE, [0.9, 0.92])
    assert (found.dimension, found.above) == (None, 1000)
    assert str(found).startswith("d90 > 1000 (limit 0.819; 10: 0.300")


def test_where_all_reach_it_the_smallest_is_no_more_than_a_bound() -> None:
    found = intrinsic_dimension(CURVE, [0.8], share=0.3)
    assert (found.dimension, found.above) == (10, None)
    assert str(found).startswith("d30 <= 10 (limit 0.240; ")


def test_one_dimension_is_no_sweep() -> None:
    with pytest.raises(
        ValueError, match=r"sweep of at least 3 dimensions; got \[30, 100\]\. Train"
    ):
        intrinsic_dimension({100: [0.7], 30: [0.5]}, [0.8])


def test_scores_must_be_there() -> None:
    with pytest.raises(ValueError, match=r"a score of full tuning .*; got 0 and \[1, 2, 2, 2\]"):
        intrinsic_dimension(CURVE | {10: [0.1]}, [])
    with pytest.raises(ValueError, match=r"got 1 and \[0, 2, 2, 2\]"):
        intrinsic_dimension(CURVE | {10: []}, [0.1])
    with pytest.raises(ValueError, match=r"share must be above 0 and at most 1; got 90"):
        intrinsic_dimension(CURVE, [0.8], share=90)
