"""Columns: what arrays say of many points is what walking says of each."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.space import (
    Infeasible,
    Ref,
    Repeat,
    compile,
    derived,
    grammar,
    integers,
    log_uniform,
    one_of,
    optional,
    ordered,
    uniform,
    where,
)
from vitruvius.space.columns import BINS, Columns, Unbounded, cell, center


def same(a: int, b: int) -> bool:
    return a == b


SPACES: dict[str, Any] = {
    "flat": (one_of(1, 2, 3), uniform(0, 1), integers(1, 1000, log=True)),
    "small log": (integers(1, 20, log=True),),
    "nested": (one_of((one_of("a", (uniform(0, 1, label="u"),), label="in"),), "none"),),
    "copies": (
        Repeat((one_of("a", "b", label="k"), optional(log_uniform(1e-3, 1, label="r"))),
               times=one_of(0, 1, 3)),
        one_of("end", "fin"),
    ),
    "integer copies": (Repeat((one_of(1, 2, label="k"),), times=integers(1, 6)),),
    "copies of copies": (
        Repeat((Repeat((one_of(1, 2, label="k"),), times=one_of(1, 2, 3)),), times=one_of(1, 2)),
    ),
    "named in two branches": (
        one_of((one_of(1, 2, name="w"),), (one_of("x", "y"), one_of(1, 2, name="w")), "none"),
        optional((one_of(1, 2, name="w"),)),
    ),
    "one number of copies in two places": (
        one_of((Repeat((one_of(1, 2, label="k"),), times=one_of(1, 2, 3, name="n")),), "none"),
        Repeat((one_of(5, 6, label="j"),), times=one_of(1, 2, 3, name="n"), label="other"),
    ),
    "tied": (Repeat((one_of(1, 2, label="k"),), times=one_of(1, 2), tied=True),),
    "grammar": (grammar("cell", 3, cell=one_of("leaf", (Ref("cell"), ordered("s", "m", "l")))),),
    "wide": (one_of(*range(100), label="o"), integers(0, 99), one_of(*map(str, range(50)))),
    "bare": one_of(1, 2, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", SPACES)
def test_active_is_what_a_walk_decides(name: str) -> None:
    program = compile(SPACES[name])
    columns = Columns(program)
    quantiles = np.random.default_rng(0).random((200, len(columns)))
    cells = columns.cells(quantiles)
    active = columns.active(cells)
    addresses = list(columns.index)
    for row, numbers, taken in zip(quantiles, cells, active, strict=True):
        point = columns.point(row)
        assert set(point) == {a for a, t in zip(addresses, taken, strict=True) if t}
        for address, label in point.items():
            column = columns.index[address]
            assert cell(columns.domains[column], label) == numbers[column]


@pytest.mark.parametrize("name", SPACES)
def test_a_point_becomes_a_row_and_back(name: str) -> None:
    program = compile(SPACES[name])
    columns = Columns(program)
    for seed in range(50):
        point = program.sample(Random(seed))
        fill = np.random.default_rng(seed).random(len(columns))
        back = columns.point(columns.row(point, fill))
        assert back.keys() == point.keys()
        for address, label in point.items():
            assert back[address] == (pytest.approx(label) if isinstance(label, float) else label)


@given(st.integers(1, BINS), st.data())
def test_the_center_of_a_cell_lies_in_it(size: int, data: st.DataObject) -> None:
    domains: list[Any] = [
        one_of(*range(size)), integers(3, 2 + size), integers(1, size, log=True),
        uniform(0, 2), log_uniform(1e-3, 1), integers(1, 5000), integers(1, 5000, log=True),
    ]  # fmt: skip
    domain = data.draw(st.sampled_from(domains))
    number = data.draw(st.integers(0, (domain.size or BINS) - 1).filter(lambda n: n < BINS))
    label = domain.at(center(domain, number))
    if domain.size is None or domain.size <= BINS or not domain.log:
        assert cell(domain, label) == number
    else:  # the first whole numbers are wider than a cell
        assert center(domain, cell(domain, label)) == pytest.approx(
            domain.position(label), abs=0.02
        )


def test_a_condition_is_told_when_the_point_is_made() -> None:
    space: Any = (one_of(1, 2, name="a"), one_of(1, 2, name="b"), where(same, "@a", "@b"))
    columns = Columns(compile(space))
    assert columns.point(np.array([0.1, 0.2])) == {"@a": 1, "@b": 1}
    with pytest.raises(Infeasible, match="same does not hold"):
        columns.point(np.array([0.1, 0.9]))


def twice(n: int) -> int:
    return 2 * n


def test_spaces_without_columns_are_refused() -> None:
    copies: Any = (
        one_of(1, 2, name="n"),
        Repeat((one_of(1, 2),), times=derived(twice, "@n")),
    )
    with pytest.raises(Unbounded, match="is derived"):
        Columns(compile(copies))
    with pytest.raises(Unbounded, match="more than 10 decisions"):
        Columns(compile((Repeat((one_of(1, 2),), times=20),)), limit=10)
    with pytest.raises(Unbounded, match="too many copies"):
        Columns(compile((Repeat((one_of(1, 2),), times=integers(1, 500)),)))


def test_a_space_without_decisions_has_no_columns() -> None:
    columns = Columns(compile((one_of(1), "x")))
    assert len(columns) == 0
    assert columns.point(np.zeros(0)) == {}
