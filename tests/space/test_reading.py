"""Derived values and conditions: what they read, when, and what is refused."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.space.parts import AdamW, Conv, Holder, Picky, ReLU, Row, double, never
from vitruvius.space import (
    Infeasible,
    Repeat,
    compile,
    count,
    decide,
    derived,
    enumerate_points,
    integers,
    one_of,
    optional,
    replay,
    restrict,
    sample,
    uniform,
    where,
)


def given(*labels: Any) -> str:
    return repr(labels)


def number(x: int | None) -> int:
    return 0 if x is None else x


def differ(a: int, b: int) -> bool:
    return a != b


def refuse(x: int) -> int:
    if x > 1:
        raise ValueError(f"only 1 will do; got {x}")
    return x


def broken(x: int) -> int:
    return x + 1


def test_a_derived_value_follows_in_the_same_call_wherever_the_name_stands():
    width = one_of(8, 16, name="width")
    space = Row(Conv(derived(double, "@width")), Conv(width), Conv(width))
    assert decide(space, lambda _: 16) == Row(Conv(32), Conv(16), Conv(16))
    assert count(space).points == 2


def test_copies_wait_for_the_names_that_their_number_reads():
    space = Row(Repeat(Conv(one_of(1, 2)), derived(number, "@n")), Holder(integers(0, 2, name="n")))
    assert list(replay(space, {"@n": 1, "repeat.1.filters": 2}).items) == [Conv(2), Holder(1)]
    assert count(space).points == 1 + 2 + 4
    assert len(list(enumerate_points(space))) == 7
    assert [d.address for d in compile(space).unfold()] == [
        "repeat.1.filters",
        "repeat.2.filters",
        "@n",
    ]


def test_copies_wait_for_names_that_other_copies_bring():
    space = Row(
        Repeat(ReLU(), derived(number, "@late")),
        Repeat(Holder(integers(1, 2, name="late")), derived(number, "@absent")),
        Holder(optional(Conv(one_of(1, 2, name="absent")))),
        Repeat(Holder(one_of(1, 2, name="absent")), 0),
    )
    point = {"holder.first": "Conv", "@absent": 1, "@late": 2}
    assert len(replay(space, point).items) == 4
    assert count(space).points == len(list(enumerate_points(space))) == 1 + 2 * 2


def test_a_name_that_is_not_active_arrives_as_none_a_node_as_its_label():
    inner = optional(Conv(one_of(1, 2, name="a")))
    space = Row(inner, Holder(derived(given, "@a", "@b"), one_of(ReLU(), AdamW(), name="b")))
    assert replay(space, {"optional": None, "@b": "ReLU"}).items[0].first == "(None, 'ReLU')"
    point = {"optional": "Conv", "@a": 2, "@b": "AdamW"}
    assert replay(space, point).items[1].first == "(2, 'AdamW')"


def test_a_forced_name_is_read_only_where_it_is_active():
    space = Row(optional(Conv(one_of(7, name="a"))), Holder(derived(given, "@a")))
    with_, without = {"optional": "Conv"}, {"optional": None}
    for point, read in ((without, "(None,)"), (with_, "(7,)"), (without, "(None,)")):
        assert replay(space, point).items[-1].first == read
    narrowed = restrict(Row(Conv(one_of(1, 2, name="a")), where(differ, "@a", "@a")), {"@a": 1})
    assert count(narrowed).points == 0


def test_a_read_may_lie_inside_a_named_decision():
    optimizer = one_of(AdamW.space(amsgrad=one_of(True)), ReLU(), name="optimizer")
    rate, forced = "@optimizer=AdamW.learning_rate", "@optimizer=AdamW.amsgrad"
    space = Row(Holder(optimizer, derived(given, rate, forced)))
    assert replay(space, {"@optimizer": "AdamW", rate: 0.01}).items[0].second == "(0.01, True)"
    assert replay(space, {"@optimizer": "ReLU"}).items[0].second == "(None, None)"
    with pytest.raises(ValueError, match=r"reads '@optimizer=AdamW.rate', but .* Did you mean"):
        compile(Row(Holder(optimizer, derived(given, "@optimizer=AdamW.rate"))))


def test_a_condition_leaves_designs_out_and_says_which_and_why():
    space = Row(
        Conv(integers(1, 3, name="a")), Conv(integers(1, 3, name="b")), where(differ, "@a", "@b")
    )
    assert count(space).points == len(list(enumerate_points(space))) == 6
    assert len(replay(space, {"@a": 1, "@b": 2}).items) == 2
    with pytest.raises(Infeasible) as caught:
        replay(space, {"@a": 2, "@b": 2})
    assert caught.value.address == "where"
    assert caught.value.reason == "differ does not hold for @a = 2, @b = 2"


def test_a_nodes_check_and_a_derived_value_make_a_design_infeasible():
    space = Holder(Picky(one_of(1, 2), one_of(1, 2)))
    with pytest.raises(Infeasible) as caught:
        replay(space, {"first.left": 2, "first.right": 2})
    assert caught.value.address == "first"
    assert "Picky.left must differ from right" in caught.value.reason
    assert count(space).points == 4  # holes are not subtracted
    derives = Holder(one_of(1, 2, name="n"), Conv(derived(refuse, "@n")))
    with pytest.raises(Infeasible, match=r"second.filters: only 1 will do; got 2"):
        replay(derives, {"@n": 2})


def test_a_thousand_infeasible_points_in_a_row_are_an_error_with_the_cause():
    space = Row(Conv(integers(1, 3, name="a")), where(never, "@a"))
    with pytest.raises(ValueError, match=r"1,000 random points in a row .* never does not hold"):
        sample(space, Random(0))


def test_a_function_that_fails_says_what_it_was_given():
    space = Row(optional(Conv(one_of(1, 2, name="a"))), Holder(derived(broken, "@a")))
    with pytest.raises(TypeError) as caught:
        replay(space, {"optional": None})
    notes = " ".join(caught.value.__notes__)
    assert "broken read @a = None" in notes and "arrives as None" in notes


def test_cycles_are_refused_when_the_space_is_compiled():
    own = Row(Repeat(Holder(one_of(1, 2, name="n")), derived(number, "@n")))
    with pytest.raises(ValueError, match="A cycle: the number of copies reads '@n'"):
        compile(own)
    each_other = Row(
        Repeat(Holder(one_of(1, 2, name="a")), derived(number, "@b")),
        Repeat(Holder(one_of(1, 2, name="b")), derived(number, "@a")),
    )
    with pytest.raises(ValueError, match="A cycle"):
        compile(each_other)


def test_copies_that_decide_what_their_number_read_as_absent_are_infeasible():
    body = Holder(one_of(1, 2, name="n"))
    space = Row(optional(body), Repeat(body, derived(one_copy, "@n")))
    with pytest.raises(Infeasible, match=r"reads @n, which they decide themselves"):
        decide(space, lambda d: None if d.address == "optional" else 1)
    assert count(space).points == len(list(enumerate_points(space))) == 2


def one_copy(_: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: derived(lambda x: x, "@a"), ValueError, "Write it at the top of a module"),
        (lambda: derived(number), ValueError, "derived reads at least one named decision"),
        (lambda: where(number, "a"), ValueError, "where reads names that begin with '@'.*got 'a'"),
        (lambda: compile(Holder(derived(number, "@a"))), ValueError, "no decision has that name"),
        (
            lambda: compile(Holder(one_of(1, 2, name="width"), derived(number, "@widht"))),
            ValueError,
            "Did you mean '@width'",
        ),
        (lambda: compile(Holder(where(number, "@a"), one_of(1, 2, name="a"))), TypeError, "tuple"),
        (lambda: one_of(1, derived(number, "@b"), name="a"), ValueError, "'a' holds a derived"),
        (lambda: Repeat(Conv(), 1.5), TypeError, "whole number or a domain of them; got 1.5"),
        (lambda: Repeat(Conv(), uniform(1, 2)), TypeError, "whole number or a domain"),
        (lambda: Repeat(Conv(), one_of(1, integers(2, 3))), TypeError, "plain numbers as options"),
        (lambda: Repeat(Conv(), integers(-1, 3)), ValueError, "must not be negative"),
    ],
)
def test_what_cannot_be_read_is_refused(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_a_derived_number_of_copies_must_be_a_whole_number():
    space = Row(Holder(one_of(1, 2, name="n")), Repeat(Conv(), derived(given, "@n")))
    with pytest.raises(
        ValueError, match=r"repeat.times must be a whole number.*given gave '\(1,\)'"
    ):
        decide(space, lambda _: 1)
