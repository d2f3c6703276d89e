"""Card 02's numbers by hand, and the fit of its constants."""

import math
from dataclasses import replace

import pytest

from vitruvius.contracts import Progress
from vitruvius.techniques.schedules import Power
from vitruvius.techniques.schedules.power import AMPLITUDE, fitted_power

SEQUENCE = 4096  # tokens; the paper counts a batch in sequences of this length


def at(tokens: int, sequences: int, fraction: float | None = None) -> Progress:
    return Progress(tokens // (sequences * SEQUENCE), tokens, sequences * SEQUENCE, fraction)


@pytest.mark.parametrize(
    ("sequences", "tokens", "rate"),
    [(1024, 10**12, 3.107e-3), (128, 10**9, 1.316e-2), (1024, 10**9, 0.02)],
)
def test_the_papers_constants_give_the_papers_rates(
    sequences: int, tokens: int, rate: float
) -> None:
    schedule = Power()
    assert schedule.largest * schedule.value(at(tokens, sequences)) == pytest.approx(rate, rel=5e-4)
    assert 4 * sequences * tokens**-0.51 >= rate * 0.9995


def test_twice_the_batch_is_twice_the_rate_where_it_is_not_capped() -> None:
    schedule = Power()
    for tokens in (10**10, 10**11, 10**12):
        assert schedule.value(at(tokens, 128)) == 2 * schedule.value(at(tokens, 64))
    assert schedule.value(at(10**6, 128)) == schedule.value(at(10**6, 64)) == 1.0


def test_a_shorter_sequence_changes_the_amplitude_and_not_the_rate() -> None:
    tokens = 10**10
    paper = Power().value(Progress(10, tokens, 64 * 4096, None))
    short = Power(amplitude=AMPLITUDE * 4096 / 512).value(Progress(10, tokens, 64 * 512, None))
    assert short == pytest.approx(paper, rel=1e-12)


def test_the_decay_holds_the_rate_of_its_first_token() -> None:
    schedule = Power(decay=0.2, floor=0.001)
    start = schedule.value(at(8 * 10**9, 64, 0.8))
    middle = schedule.value(at(9 * 10**9, 64, 0.9))
    assert middle == pytest.approx(start * (0.001 + 0.999 * 0.5), rel=1e-12)
    assert schedule.value(at(10**10, 64, 1.0)) == pytest.approx(0.001 * start, rel=1e-12)


def test_what_continues_has_the_rates_of_what_was_never_stopped() -> None:
    schedule = Power(warmup_steps=10, amplitude=1e-4)
    whole = [Progress(k, 640 * k, 640, k / 100) for k in range(100)]
    first, rest = whole[:60], [replace(now) for now in whole[60:]]
    assert [*map(schedule.value, first), *map(schedule.value, rest)] == [
        *map(schedule.value, whole)
    ]


def test_the_constants_are_found_again() -> None:
    best = [
        (tokens, batch, batch * 0.003 * tokens**-0.4)
        for tokens in (32_000, 128_000, 512_000)
        for batch in (32, 128)
    ]
    amplitude, exponent = fitted_power(best)
    assert amplitude == pytest.approx(0.003, rel=1e-9)
    assert exponent == pytest.approx(-0.4, rel=1e-9)
    assert math.isclose(Power(amplitude=amplitude, exponent=exponent).exponent, exponent)


def test_one_length_is_too_few_for_a_fit() -> None:
    with pytest.raises(ValueError, match=r"at least two lengths of training; got \[1000\]"):
        fitted_power([(1000, 32, 0.01), (1000, 64, 0.02)])
