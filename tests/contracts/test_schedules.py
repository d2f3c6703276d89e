"""Every schedule is pure, those of the learning rate stay in (0, 1]; each keeps its formula."""

import itertools
import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.common import example, name, samples
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Progress, Schedule
from vitruvius.techniques.schedules import (
    WSD,
    Between,
    Constant,
    Cosine,
    Linear,
    Mixture,
    Phases,
    Plateau,
    Power,
)
from vitruvius.techniques.schedules.plateau import falls
from vitruvius.techniques.schedules.stable import Stable
from vitruvius.techniques.schedules.warmed import Warmed

ALL = catalogue(Schedule)
WARMED = [cls for cls in ALL if issubclass(cls, Warmed)]
STABLE = [cls for cls in ALL if issubclass(cls, Stable)]
FACTORS = WARMED + STABLE
STEPS = 200


def course(scores: tuple[float, ...] = ()) -> list[Progress]:
    """A training of STEPS steps with an evaluation after every tenth."""
    return [
        Progress(step, 64 * step, 64, step / STEPS, scores[: step // 10])
        for step in range(STEPS + 1)
    ]


@pytest.mark.parametrize("cls", FACTORS, ids=name)
def test_a_factor_stays_above_0_and_at_most_1(cls: type[Schedule[float]]) -> None:
    worse = tuple(-float(i) for i in range(20))
    for schedule in (example(cls), *samples(cls)):
        values = [schedule.value(now) for now in course(worse)]
        assert all(type(v) is float and 0 < v <= 1 for v in values), schedule


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_is_pure(cls: type[Schedule[float]]) -> None:
    for schedule in samples(cls, 5):
        nows = course((0.1, 0.5, 0.3, 0.2, 0.2, 0.1))
        forward = [schedule.value(now) for now in nows]
        again = pickle.loads(pickle.dumps(schedule))
        assert [again.value(now) for now in reversed(nows)] == forward[::-1]


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_what_it_calls_free_of_the_horizon_is_so(cls: type[Schedule[float]]) -> None:
    scores = (0.5, 0.6, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4)
    for schedule in (example(cls), *samples(cls)):
        for now in course(scores):
            if schedule.horizon_free(now):
                others = [replace(now, fraction=f) for f in (None, 0.0, 0.3, 0.85, 1.0)]
                free = [other for other in others if schedule.horizon_free(other)]
                assert free
                assert {schedule.value(other) for other in free} == {schedule.value(now)}, schedule


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_once_bound_to_the_horizon_it_stays_so(cls: type[Schedule[float]]) -> None:
    for schedule in (example(cls), *samples(cls, 5)):
        free = [schedule.horizon_free(now) for now in course()]
        assert free == sorted(free, reverse=True), schedule


@pytest.mark.parametrize("schedule", [Constant(), Plateau(), WSD()])
def test_without_a_horizon(schedule: Schedule[float]) -> None:
    now = Progress(10, 640, 64, None)
    assert schedule.horizon_free(now)
    assert schedule.value(now) == 1.0


@pytest.mark.parametrize(
    "schedule", [Cosine(), Linear(), Constant(0.1), Plateau(0.1), Between(along=Linear())]
)
def test_what_needs_a_horizon_says_so(schedule: Schedule[float]) -> None:
    now = Progress(10, 640, 64, None)
    assert not schedule.horizon_free(now)
    with pytest.raises(ValueError, match="needs to know when training ends"):
        schedule.value(now)


@pytest.mark.parametrize("cls", WARMED, ids=name)
def test_warmup_is_a_straight_line_to_the_whole_rate(cls: type[Warmed]) -> None:
    schedule = cls(warmup=0.1)
    values = [schedule.value(now) for now in course()[:21]]
    assert values[0] == 0.01
    assert values[10] == pytest.approx(0.01 + 0.99 / 2)
    assert values[20] == 1.0
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert steps == pytest.approx([0.99 / 20] * 20)


@pytest.mark.parametrize("cls", STABLE, ids=name)
def test_a_rise_in_steps_is_a_straight_line_to_the_middle(cls: type[Stable]) -> None:
    schedule, nows = cls(warmup_steps=20), course()
    values = [schedule.value(now) for now in nows[:21]]
    top = cls().value(nows[20])
    assert values[0] == pytest.approx(0.01 * top, rel=1e-12)
    assert values[20] == top  # from above as from below
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert steps == pytest.approx([0.99 * top / 20] * 20)


@pytest.mark.parametrize("cls", STABLE, ids=name)
def test_before_its_decay_it_is_the_same_for_every_horizon(cls: type[Stable]) -> None:
    schedule = cls(warmup_steps=10, decay=0.2)
    for now in course()[:161]:
        longer = replace(now, fraction=None if now.fraction is None else now.fraction / 7)
        assert schedule.value(now) == schedule.value(longer)
        assert schedule.horizon_free(now)
    decaying = course()[161]
    assert not schedule.horizon_free(decaying)
    assert schedule.value(decaying) < schedule.value(replace(decaying, fraction=None))
    cosine = Cosine(floor=0.01)
    assert cosine.value(course()[40]) != cosine.value(replace(course()[40], fraction=0.2 / 7))


@pytest.mark.parametrize("cls", STABLE, ids=name)
@pytest.mark.parametrize("shape", ["linear", "exponential", "root"])
def test_the_decay_starts_where_the_middle_ends(cls: type[Stable], shape: str) -> None:
    schedule, nows = cls(decay=0.5, shape=shape, floor=0.1), course()
    values = [schedule.value(now) for now in nows[100:]]
    top = cls().value(nows[100])
    assert values[0] == top
    assert values[-1] == pytest.approx(0.1 * top, rel=1e-12)
    assert values == sorted(values, reverse=True)
    half = {
        "linear": 0.5,
        "root": 1 - math.sqrt(0.5),
        "exponential": (math.exp(-0.5) - math.exp(-1)) / (1 - math.exp(-1)),
    }
    assert values[50] == pytest.approx(top * (0.1 + 0.9 * half[shape]), rel=1e-12)


def test_cosine_by_hand() -> None:
    values = [Cosine(floor=0.1).value(now) for now in course()]
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert values[100] == pytest.approx(0.55)
    assert values[200] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True)
    warmed = Cosine(warmup=0.1, floor=0.1)
    assert warmed.value(course()[110]) == pytest.approx(0.55)  # half of what follows the warmup


def test_linear_by_hand() -> None:
    values = [Linear(floor=0.2).value(now) for now in course()]
    assert values[0] == 1.0
    assert values[100] == pytest.approx(0.6)
    assert values[200] == pytest.approx(0.2)
    assert Linear(warmup=0.1, floor=0.2).value(course()[110]) == pytest.approx(0.6)


def test_plateau_by_hand() -> None:
    #         best  best  1    2=fall 1    best  1    2=fall
    scores = (0.50, 0.60, 0.6, 0.59, 0.1, 0.61, 0.61, 0.60)
    after = [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01]
    schedule = Plateau(factor=0.1, patience=2, floor=0.005)
    for seen, expected in enumerate(after, 1):
        now = Progress(seen, seen, 1, None, scores[:seen])
        assert schedule.value(now) == pytest.approx(expected)
    assert schedule.value(Progress(20, 20, 1, None, scores + (0.0,) * 20)) == 0.005


def test_a_score_that_is_no_number_is_no_improvement() -> None:
    assert falls((0.5, math.nan, math.nan), 2) == 1
    assert falls((math.nan, math.nan, 0.5), 2) == 1


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 8))
def test_falls_never_shrink_and_never_outrun_the_patience(scores: list[float], patience: int):
    counts = [falls(tuple(scores[:n]), patience) for n in range(len(scores) + 1)]
    assert counts == sorted(counts)
    assert counts[-1] <= max(0, len(scores) - 1) // patience


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(1.0), r"Constant\.warmup is a share .* got 1\.0"),
        (lambda: Cosine(-0.1), r"Cosine\.warmup is a share .* got -0\.1"),
        (lambda: Cosine(floor=0.0), r"Cosine\.floor is a factor .* got 0\.0"),
        (lambda: Linear(floor=1.5), r"Linear\.floor is a factor .* got 1\.5"),
        (lambda: Plateau(factor=1.0), r"Plateau\.factor must lie between 0 and 1; got 1\.0"),
        (lambda: Plateau(patience=0), r"Plateau\.patience must be at least 1 evaluation; got 0"),
        (lambda: Plateau(floor=-1.0), r"Plateau\.floor is a factor .* got -1\.0"),
        (lambda: WSD(-1), r"WSD\.warmup_steps must not be negative; got -1"),
        (lambda: WSD(decay=1.5), r"WSD\.decay is a share .* got 1\.5"),
        (
            lambda: WSD(shape="steep"),
            r"WSD\.shape is one of linear, exponential, root; got 'steep'",
        ),
        (lambda: Power(floor=0.0), r"Power\.floor must be above 0 .* got 0\.0"),
        (lambda: Power(amplitude=0.0), r"Power\.amplitude must be above 0; got 0\.0"),
        (lambda: Power(largest=-1.0), r"Power\.largest must be above 0; got -1\.0"),
        (lambda: Power(exponent=0.5), r"Power\.exponent must lie between -2 and 0; got 0\.5"),
        (lambda: Mixture((0.0, 0.0)), r"Mixture\.first holds weights of at least 0"),
        (lambda: Mixture((1.0,), (2.0, -1.0)), r"Mixture\.last holds weights of at least 0"),
        (lambda: Mixture((1.0, 2.0), (1.0,)), r"Mixture\.last has a weight for each of the 2"),
        (lambda: Phases((1, 2)[:1]), r"Phases\.values needs one more .* got 1 values and 1 switch"),
        (lambda: Phases((1, 2, 3), (0.5, 0.5)), r"Phases\.switches are rising shares"),
        (lambda: Phases((1, 2), (1.0,)), r"Phases\.switches are rising shares .* got \(1\.0,\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
