"""Points: carried to edited spaces, restricted, moved, compared, drawn, written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from random import Random
from typing import Any

import pytest

from tests.space.parts import AdamW, BatchNorm, Conv, Dropout, Holder, ReLU, Row, copies, uneven
from vitruvius.space import (
    Change,
    Repeat,
    carry,
    compile,
    count,
    decisions_of,
    derived,
    diff,
    digest,
    draw,
    either_order,
    enumerate_points,
    from_json,
    grammar,
    integers,
    neighbours,
    one_of,
    optional,
    replay,
    restrict,
    same,
    sample,
    to_json,
    uniform,
    where,
)


def fresh(decision: Any) -> Any:
    return decision.domain.at(0.0)


def test_a_point_survives_an_edit():
    before = Row(one_of(Conv(1), Conv(one_of(3, 5)), label="body"), optional(ReLU()))
    point = {"body": "Conv#2", "body=Conv#2.filters": 5, "optional": "ReLU"}
    assert replay(before, point) == Row(Conv(5), ReLU())
    more = Row(
        one_of(Conv(1), Conv(one_of(1, 5, 7)), Dropout(), label="body"), Holder(one_of(1, 2))
    )
    carried = carry(more, point, fresh)
    assert carried == {"body": "Conv#2", "body=Conv#2.filters": 5, "holder.first": 1}
    gone = Row(one_of(Dropout(), ReLU(), label="body"), optional(ReLU()))
    assert carry(gone, point, fresh) == {"body": "Dropout", "optional": "ReLU"}


def test_a_point_that_does_not_fit_is_refused():
    space = Row(Conv(one_of(1, 2)), optional(Dropout(one_of(0.1, 0.2))))
    with pytest.raises(ValueError, match=r"decides nothing for 'optional'.*use carry\("):
        replay(space, {"conv.filters": 1})
    with pytest.raises(ValueError, match=r"'conv.filter', which is no .*mean 'conv.filters'"):
        replay(space, {"conv.filters": 1, "optional": None, "conv.filter": 2})


def test_a_whole_number_for_a_real_decision_is_the_real_number():
    carried = carry(Dropout(uniform(0, 2)), {"rate": 1}, fresh)
    assert same(carried, {"rate": 1.0})


def test_restrict_narrows_without_changing_addresses():
    space = Row(Conv(one_of(1, 2, 4)), optional(ReLU()), Holder(integers(1, 9), uniform(0, 1)))
    limits = {"conv.filters": (1, 4), "optional": "ReLU", "holder.first": (3, 5)}
    narrowed = restrict(space, limits)
    assert count(narrowed).points == 2 * 1 * 3
    point = sample(narrowed, Random(0))
    assert set(point) == {"conv.filters", "holder.first", "holder.second"}
    again = restrict(restrict(narrowed, {"holder.first": (4, 5)}), {"holder.first": 4})
    assert count(again).points == 2
    assert replay(again, {"conv.filters": 4, "holder.second": 0.5}) == Row(
        Conv(4), ReLU(), Holder(4, 0.5)
    )
    assert same(from_json(to_json(again), allow=("tests",)), again)


def test_restrict_reaches_copies_whose_number_is_derived():
    space = Row(Holder(integers(0, 9, name="n")), Repeat(Conv(one_of(1, 2)), derived(copies, "@n")))
    assert count(space).points > count(restrict(space, {"repeat.2.filters": 1})).points


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"conv.filter": 1}, r"no decision 'conv.filter'. Did you mean 'conv.filters'"),
        ({"conv.filters": 3}, r"conv.filters: 3 is not among the options \[1, 2\]"),
        ({"conv.filters": ()}, "conv.filters is limited to nothing"),
    ],
)
def test_restrict_refuses_what_is_not_there(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restrict(Row(Conv(one_of(1, 2))), limits)


def test_a_restricted_space_stands_at_the_root():
    with pytest.raises(ValueError, match="restricted space stands at the root only"):
        count(Holder(restrict(Conv(one_of(1, 2)), {"filters": 1})))


def test_neighbours_by_hand():
    space = Holder(one_of(1, 2, 4), one_of(Conv(one_of(8, 16)), ReLU()))
    point = {"first": 2, "second": "ReLU"}
    moved = list(neighbours(space, point, Random(0)))
    assert moved[:2] == [{**point, "first": 1}, {**point, "first": 4}]
    assert moved[2]["second"] == "Conv" and moved[2]["second=Conv.filters"] in (8, 16)
    assert len(moved) == 3


def test_neighbours_that_break_a_condition_are_left_out():
    space = Row(Holder(integers(1, 20, name="n")), where(uneven, "@n"))
    allowed = {p["@n"] for p in enumerate_points(space)}
    for n in allowed:
        found = {p["@n"] for p in neighbours(space, {"@n": n}, Random(0))}
        assert found == {n - 1, n + 1} & allowed


def test_real_decisions_cannot_be_enumerated():
    with pytest.raises(ValueError, match=r"rate is a real number.*cannot be enumerated. Restrict"):
        list(enumerate_points(Dropout.space()))


def test_decisions_of_a_point_in_their_order():
    space = Holder(one_of(Conv(one_of(1, 2)), ReLU()), one_of("a", "b"))
    point = {"first=Conv.filters": 1, "second": "a", "first": "Conv"}
    assert [d.address for d in decisions_of(space, point)] == [
        "first",
        "second",
        "first=Conv.filters",
    ]


def test_diff_of_points_designs_and_spaces():
    assert diff({"a": 1, "b": 2}, {"a": True, "c": 2}) == (
        Change("a", 1, True),
        Change("b", 2, None),
        Change("c", None, 2),
    )
    changes = diff(Row(Conv(8), ReLU()), Row(Conv(16), BatchNorm()))
    assert list(map(str, changes)) == ["items.1.filters: 8 -> 16", "items.2: 'ReLU' -> 'BatchNorm'"]
    assert [c.address for c in diff(Conv(one_of(1, 2)), Conv(one_of(1, 2), 5))] == ["kernel"]


def test_draw():
    block = Row(Conv(one_of(8, 16, name="width")), optional(Dropout.space()))
    space = Row(
        Repeat(block, integers(1, 3)), either_order(ReLU(), BatchNorm()), AdamW(), scale=2.0
    )
    assert draw(space).splitlines() == [
        "Row(scale=2.0)",
        "├─ Repeat(times=integers(1, 3))",
        "│  └─ Row(scale=1.0)",
        "│     ├─ Conv(filters=one_of(8, 16, name='width'), kernel=3)",
        "│     └─ optional",
        "│        └─ Dropout(rate=uniform(0.0, 0.9))",
        "├─ either_order",
        "│  ├─ ReLU",
        "│  └─ BatchNorm",
        "└─ AdamW(learning_rate=0.001, amsgrad=False)",
    ]
    assert draw(Holder(grammar("a", 2, a=ReLU()))).splitlines()[1] == (
        "└─ first: grammar from 'a', depth 2"
    )


def test_json_writes_defaults_and_classes():
    assert to_json(Conv(8)) == {"node": "tests.space.parts:Conv", "filters": 8, "kernel": 3}
    assert from_json(to_json(Conv(8)), allow=("tests",)) == Conv(8)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"node": "os:path"}, r"os:path lies outside of vitruvius, tests"),
        ({"node": "tests.space.parts:Nothing"}, r"tests.space.parts has no 'Nothing' \(any more\)"),
        ({"node": "tests.space.parts:double"}, "tests.space.parts:double is no node"),
        ({"node": "tests.space.parts:Conv", "filters": 1}, "the field 'kernel' is missing"),
        ({"node": "tests.space.parts:ReLU", "slope": 1}, "ReLU has no field 'slope'; it has"),
        ({"domain": "some"}, "Neither a node nor a domain"),
        ({"domain": "integers", "low": 1}, "'high' is missing in the JSON of a domain"),
    ],
)
def test_json_that_cannot_be_read_is_refused(written: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(written, allow=("vitruvius", "tests"))


SCRIPT = """
from random import Random
from tests.space.parts import AdamW, Conv, Row
from vitruvius.space import Repeat, digest, integers, sample
space = Row(Repeat(Conv.space(), integers(1, 3)), AdamW.space())
print(digest(sample(space, Random(5))), digest(space))
"""


def test_digests_are_the_same_in_every_process():
    found = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(ran.stdout)
    space = Row(Repeat(Conv.space(), integers(1, 3)), AdamW.space())
    assert found == {f"{digest(sample(space, Random(5)))} {digest(space)}\n"}


def test_a_digest_names_the_content_alone():
    assert digest({"a": 1, "b": 2.0}) == digest(json.loads('{"b": 2.0, "a": 1}'))
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert (
        len({digest(p) for p in ({"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None})}) == 5
    )


def test_a_space_is_compiled_once():
    row = (Conv(one_of(1, 2)), Conv(one_of(1, 2)))
    assert compile(row) is compile(row)
    assert compile(row) is not compile((*row, ReLU()))
    assert compile(row[0]) is compile(row[0])
