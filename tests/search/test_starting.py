"""Points that come first."""

from random import Random

import pytest

from vitruvius.search import RandomSearch, Starting, ask, asked, told
from vitruvius.search.history import Event
from vitruvius.space import canonical, one_of, sample

SPACE = (one_of(1, 2, 4, label="rate"), one_of("a", "b", "c", label="kind"))


def written(*points: dict) -> tuple:
    return tuple(tuple(point.items()) for point in points)


def test_its_points_come_first_in_their_order_and_then_those_of_the_searcher() -> None:
    first, second = {"rate": 4, "kind": "b"}, {"rate": 1, "kind": "c"}
    searcher = Starting(RandomSearch(seed=3), written(first, second))
    events: list[Event] = []
    for trial, expected in ((1, first), (2, second)):
        point = ask(searcher, SPACE, events, trial)
        assert point == expected
        events += [asked(2 * trial, trial, point), told(2 * trial + 1, trial, 0.5)]
    assert ask(searcher, SPACE, events, 3) == ask(RandomSearch(seed=3), SPACE, events, 3)


def test_what_does_not_fit_is_drawn_and_a_refused_point_is_passed_over() -> None:
    searcher = Starting(RandomSearch(), written({"rate": 4, "kind": "gone"}, {"rate": 1}))
    point = ask(searcher, SPACE, [], 1)
    assert point["rate"] == 4 and point["kind"] in ("a", "b", "c")
    assert ask(searcher, SPACE, [], 1) == point
    refused = Event(1, "rejected", 1, {"point": point, "attempt": 0, "address": "", "reason": ""})
    assert ask(searcher, SPACE, [refused], 1, attempt=1)["rate"] == 1


def test_a_point_that_was_asked_by_others_does_not_come_again() -> None:
    point = sample(SPACE, Random(0))
    searcher = Starting(RandomSearch(seed=1), written(point))
    events = [asked(1, 1, point), told(2, 1, 0.1)]
    assert canonical(ask(searcher, SPACE, events, 2)) == canonical(
        ask(RandomSearch(seed=1), SPACE, events, 2)
    )


def test_points_are_pairs() -> None:
    with pytest.raises(ValueError, match=r"holds points as pairs of address and label"):
        Starting(RandomSearch(), (("rate",),))  # type: ignore[arg-type]
