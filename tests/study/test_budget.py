import math

import pytest

from vitruvius.search.history import Event
from vitruvius.study.budget import (
    Budget,
    Spent,
    left,
    predicted_seconds,
    refusal,
    reserved_seconds,
    speed,
    spent,
)


def journal(*rows) -> list[Event]:
    return [Event(i, kind, trial, body) for i, (kind, trial, body) in enumerate(rows, 1)]


TOLD = {"status": "finished", "flops": 200.0}
EVENTS = journal(
    ("study", 0, {"at": 90.0}),
    ("started", 0, {"at": 100.0}),
    ("asked", 1, {"at": 101.0}),
    ("told", 1, {**TOLD, "seconds": 10.0, "at": 111.0}),
    ("asked", 2, {"at": 111.5}),
    ("rejected", 2, {"at": 112.0}),
    ("asked", 2, {"at": 112.5}),
    ("rung", 2, {"at": 120.0}),  # killed here
    ("started", 0, {"at": 1000.0}),
    ("lost", 2, {"at": 1000.0}),
    ("asked", 2, {"at": 1001.0}),
    ("told", 2, {**TOLD, "seconds": 5.0, "at": 1006.0}),
    ("asked", 3, {"at": 1006.0}),
    ("stopped", 3, {"flops": 50.0, "seconds": 1.0, "at": 1007.0}),
    ("asked", 4, {"at": 1008.0}),
)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "Budget needs a limit"),
        ({"seconds": 0}, r"Budget.seconds must be a number above 0; got 0"),
        ({"seconds": math.nan}, "Budget.seconds must be"),
        ({"seconds": math.inf}, "Budget.seconds must be"),
        ({"seconds": "60"}, "Budget.seconds must be"),
        ({"trials": -1}, "Budget.trials must be a number above 0"),
        ({"trials": True}, "Budget.trials must be"),
        ({"trials": 1.5}, "Budget.trials must be a whole number"),
        ({"flops": -1.0}, "Budget.flops must be"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(given, match):
    with pytest.raises(ValueError, match=match):
        Budget(**given)


def test_what_was_spent_leaves_out_the_time_between_sessions():
    assert spent(EVENTS) == Spent(20.0 + 8.0, 4, 450.0)
    assert spent(EVENTS, now=1010.0) == Spent(20.0 + 10.0, 4, 450.0)
    assert spent(EVENTS, now=900.0).seconds == 28.0  # a clock that was set back
    assert spent(EVENTS[:6]) == Spent(12.0, 1, 200.0)  # the refused point is no trial
    assert spent(EVENTS[:10]) == Spent(20.0, 1, 200.0)  # nor is the lost one, until asked anew
    assert spent([]) == Spent()


def test_what_is_left_is_never_less_than_nothing():
    used = Spent(30.0, 4, 450.0)
    assert left(Budget(seconds=100.0, trials=6, flops=1000.0), used) == Spent(70.0, 2, 550.0)
    assert left(Budget(seconds=10.0, trials=2, flops=1.0), used) == Spent(0.0, 0, 0.0)
    unlimited = left(Budget(trials=5), used)
    assert unlimited.seconds == unlimited.flops == math.inf
    assert left(Budget(seconds=31.0), used).trials > 10**9


def test_speed_is_that_of_finished_trials_and_before_them_of_the_probe():
    assert speed(EVENTS) == 30.0  # the median of 20 and 40: the stopped one is not counted
    probe = journal(("probe", 0, {"flops": 70.0, "seconds": 10.0}))
    assert speed(probe) == 7.0
    assert speed([*probe, *EVENTS]) == 30.0
    assert speed([]) is None
    assert predicted_seconds(300.0, 30.0) == 12.5
    assert predicted_seconds(300.0, None) is None


def test_the_reserve_covers_the_final_trainings_and_has_a_ceiling():
    assert reserved_seconds(Budget(seconds=1000.0), EVENTS, trainings=6) == 2.0 + 1.25 * 7.5 * 6
    assert reserved_seconds(Budget(seconds=1000.0), EVENTS, 6, workers=4) == 2.0 + 1.25 * 7.5 * 2
    assert reserved_seconds(Budget(seconds=100.0), EVENTS, trainings=6) == 2.0 + 1.25 * 7.5 * 2
    assert reserved_seconds(Budget(seconds=20.0), EVENTS, trainings=6) == 2.0  # none fits
    assert reserved_seconds(Budget(seconds=100.0), [], trainings=6) == 2.0
    assert reserved_seconds(Budget(trials=9), EVENTS, trainings=6) == 0.0


def test_what_cannot_end_inside_is_not_started():
    remaining = Spent(seconds=10.0, trials=1, flops=500.0)
    assert refusal(remaining) is None
    assert refusal(remaining, flops=500.0, seconds=10.0) is None
    assert refusal(remaining, seconds=12.5) == "it needs about 12.5 seconds, and 10 are left"
    assert refusal(remaining, flops=501.0) == "it needs 501 FLOPs, and 500 are left"
    assert refusal(Spent(10.0, 0, 500.0)) == "the trials were used"
    assert refusal(Spent(0.0, 1, 500.0)) == "the time was used"
    assert refusal(Spent(10.0, 1, 0.0)) == "the FLOPs were used"
