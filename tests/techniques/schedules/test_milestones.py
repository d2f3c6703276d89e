"""Milestones stand where the authors' grid has them."""

import pytest

from vitruvius.contracts import Progress
from vitruvius.techniques.schedules import Milestones


def falls(schedule: Milestones, epochs: int = 630) -> list[int]:
    """Epochs at which the factor changes."""
    values = [schedule.value(Progress(e, e, 1, e / epochs)) for e in range(epochs)]
    return [e for e in range(1, epochs) if values[e] != values[e - 1]]


@pytest.mark.parametrize(
    ("count", "wanted"), [(2, [252, 504]), (3, [180, 360, 540]), (4, [140, 280, 420, 560])]
)
def test_they_are_spread_evenly(count: int, wanted: list[int]) -> None:
    assert falls(Milestones(count=count)) == wanted


def test_each_multiplies_the_rate() -> None:
    schedule = Milestones(count=2, factor=0.3)
    found = [schedule.value(Progress(0, 0, 1, f)) for f in (0.0, 0.39, 0.4, 0.79, 0.8, 1.0)]
    assert found == [1.0, 1.0, 0.3, 0.3, 0.3**2, 0.3**2]


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="count of at least 1 and a factor above 0"):
        Milestones(count=0)
