"""One type of schedule for rates, shares of data and switches between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Progress
from vitruvius.techniques.schedules import Between, Constant, Linear, Mixture, Phases

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=3, max_size=3).filter(lambda w: sum(w) > 1e-3)


def at(fraction: float | None) -> Progress:
    return Progress(10, 640, 64, fraction)


@given(WEIGHTS, WEIGHTS, st.floats(0, 1))
def test_it_never_leaves_the_simplex(first: list[float], last: list[float], fraction: float):
    shares = Mixture(tuple(first), tuple(last), Linear()).value(at(fraction))
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    assert all(0 <= share <= 1 for share in shares)


def test_from_the_first_shares_to_the_last() -> None:
    schedule = Mixture((3.0, 1.0), (0.0, 1.0), Linear(floor=0.001))
    assert schedule.value(at(0.0)) == (0.75, 0.25)
    assert schedule.value(at(1.0)) == pytest.approx((0.00075, 0.99925))
    assert Mixture((3.0, 1.0)).value(at(None)) == (0.75, 0.25)


def test_a_factor_of_1_keeps_the_first_shares_to_the_bit() -> None:
    base = (0.7, 0.2, 0.1)
    kept = Mixture(base, (0.1, 0.1, 0.8), Constant()).value(at(0.9))
    assert kept == pytest.approx(Mixture(base).value(at(0.9)), abs=1e-15)


def test_the_tail_of_a_training_has_its_own_shares() -> None:
    schedule = Phases((Mixture((9.0, 1.0)), Mixture((1.0, 1.0))), (0.8,))
    values = [schedule.value(at(step / 10)) for step in range(11)]
    assert values == [(0.9, 0.1)] * 8 + [(0.5, 0.5)] * 3
    assert schedule.horizon_free(at(0.79)) and not schedule.horizon_free(at(0.8))


def test_with_equal_phases_nothing_switches() -> None:
    base = Mixture((9.0, 1.0))
    schedule = Phases((base, base), (0.8,))
    for step in range(11):
        assert schedule.value(at(step / 10)) == base.value(at(step / 10))


def test_phases_of_lengths_and_of_schedules() -> None:
    assert [Phases((128, 512), (0.9,)).value(at(f)) for f in (0.0, 0.9)] == [128, 512]
    inner = Phases((Constant(), Linear(floor=0.01)), (0.5,))
    assert inner.value(at(0.25)) == 1.0
    assert inner.value(at(0.75)) == pytest.approx(1 - 0.99 * 0.75)  # sees the whole training


def test_a_masking_rate_goes_from_first_to_last() -> None:
    schedule = Between(0.3, 0.15, Linear(floor=0.001))
    assert schedule.value(at(0.0)) == 0.3
    assert schedule.value(at(0.5)) == pytest.approx(0.15 + 0.15 * (1 - 0.999 * 0.5))
    assert schedule.value(at(1.0)) == pytest.approx(0.15, abs=2e-4)
    assert Between(0.15, 0.15).value(at(0.7)) == 0.15
