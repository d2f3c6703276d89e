"""Counts worked by hand, and what happens where there is no exact one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.space.parts import BatchNorm, Conv, Dropout, Holder, ReLU, Row, copies, uneven
from vitruvius.space import (
    Count,
    Repeat,
    count,
    derived,
    either_order,
    integers,
    one_of,
    optional,
    restrict,
    uniform,
    where,
)


def block(filters: tuple[int, ...]) -> Row:
    return Row(
        Conv(one_of(*filters), one_of(3, 5)),
        either_order(ReLU(), BatchNorm()),
        optional(Dropout(one_of(0.5, 0.9))),
    )


def test_deepconv_of_card_01():
    """18 strided convolutions times 432 blocks, squared: (18 * 432) ** 2."""
    early, late = (48, 64, 80, 96, 112, 128), (96, 128, 160, 192, 224, 256)
    times = one_of(1, 2, 4, 8, 16, 32)
    space = Row(
        Conv(one_of(*early), one_of(3, 5, 7)),
        Repeat(block(early), times, tied=True),
        Conv(one_of(*late), one_of(3, 5, 7)),
        Repeat(block(late), times, tied=True),
    )
    assert count(space) == Count(60_466_176, True, 0)


def test_sequences_multiply_choices_add_copies_take_powers():
    three = Conv(one_of(1, 2, 3))
    assert count(Row(three, three)).points == 9
    assert count(one_of(three, ReLU(), Conv(integers(1, 5)))).points == 3 + 1 + 5
    assert count(optional(three)).points == 4
    assert count(Row(Repeat(three, one_of(1, 2, 4)))).points == 3 + 9 + 81
    assert count(Row(Repeat(three, one_of(1, 2, 4), tied=True))).points == 3 * 3
    assert count(Row(Repeat(three, integers(0, 100)))).points == sum(3**k for k in range(101))
    assert count(Conv()).points == 1


def test_shared_names_are_counted_once():
    width: Any = one_of(8, 16, 32, name="width")
    chosen: Any = one_of(Conv(one_of(1, 2)), ReLU(), name="part")
    assert count(Row(*[Conv(width)] * 20)).points == 3
    assert count(Row(chosen, chosen, Conv(width))).points == (2 + 1) * 3
    assert count(Row(optional(Conv(width)), optional(Conv(width)))).points == 1 + 3 * 3


def test_what_a_forced_name_holds_is_counted_once():
    forced: Any = one_of(Conv(one_of(1, 2)), name="part")
    assert count(Row(forced, forced)).points == 2
    chosen: Any = one_of(Conv(one_of(1, 2)), ReLU(), name="part")
    assert count(restrict(Row(chosen, chosen), {"@part": "Conv"})).points == 2


def test_reals_are_counted_apart():
    counted = count(
        Row(Dropout(uniform(0, 1)), Conv(one_of(1, 2)), optional(Dropout(uniform(0, 1))))
    )
    assert counted == Count(4, True, 2)
    assert str(counted) == "4, times 2 real decisions"
    assert str(Count(1234, False, 1)) == "at most 1,234, times 1 real decision"


def test_a_condition_over_too_many_combinations_gives_an_upper_bound():
    names = [one_of(*range(1, 41), name=f"n{i}") for i in range(5)]
    reads = [f"@n{i}" for i in range(5)]
    space = Row(*map(Conv, names), where(uneven, *reads))
    assert count(space) == Count(40**5, False, 0)
    few = restrict(space, {f"@n{i}": 1 for i in range(3)})
    assert count(few).exact and 0 < count(few).points < 40**2


def test_what_cannot_be_counted_is_refused():
    space = Row(Holder(uniform(0, 1, name="u")), Repeat(Conv(one_of(1, 2)), derived(copies, "@u")))
    with pytest.raises(ValueError, match=r"cannot be counted: .*follow from a real number"):
        count(space)
