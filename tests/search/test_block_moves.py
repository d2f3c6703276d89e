"""Whole blocks are moved with all that stands in them."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from vitruvius.search.block_moves import KINDS, BlockMove, Blocks, drawn_move, repeats
from vitruvius.search.tree_pool import Wanted, pool_of
from vitruvius.space import Point, Repeat, compile, derived, integers, one_of, replay, uniform
from vitruvius.space.columns import Columns

SPACE: Any = (
    Repeat(
        (one_of((uniform(0, 1, label="share"),), (integers(1, 9, label="width"),), label="kind"),),
        times=one_of(1, 2, 3, 4),
    ),
    one_of("a", "b", label="other"),
)
DERIVED: Any = (
    one_of(1, 2, 3, name="count"),
    Repeat((one_of("a", "b", "c", label="kind"),), times=derived(int, "@count")),
)


def a_point() -> Point:
    """A block with a share, then two with widths, as the space writes them."""
    program, draw = compile(SPACE), Random(0)
    while True:
        point = program.sample(draw)
        inner = [a.rpartition(".")[2] for a in point if a.startswith("repeat.") and "=" in a]
        if inner == ["share", "width", "width"]:
            return point


def blocks_of(point: Point) -> list[tuple[Any, ...]]:
    """What each block decides, without its number."""
    count = point["repeat.times"]
    return [
        tuple(
            round(v, 6) if isinstance(v, float) else v
            for a, v in sorted(point.items())
            if a.startswith(f"repeat.{i}.")
        )
        for i in range(1, count + 1)
    ]


def test_repeats_are_found_by_their_numbers() -> None:
    addresses = ["a.repeat.1.x", "a.repeat.2.x", "a.repeat.2.b.repeat.1", "share=0.5", "c.7.x"]
    assert repeats(addresses) == {"a.repeat": 2}
    assert repeats(Columns(compile(SPACE)).index) == {"repeat": 4}


@pytest.mark.parametrize(
    ("move", "order"),
    [
        (BlockMove("repeat", "written over", 1, 3), [3, 2, 3]),
        (BlockMove("repeat", "exchanged", 1, 3), [3, 2, 1]),
        (BlockMove("repeat", "doubled", 1), [1, 1, 2, 3]),
        (BlockMove("repeat", "doubled", 3), [1, 2, 3, 3]),
        (BlockMove("repeat", "taken out", 1), [2, 3]),
        (BlockMove("repeat", "taken out", 3), [1, 2]),
    ],
)
def test_what_stands_in_a_block_moves_along(
    move: BlockMove, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitruvius.search import block_moves

    monkeypatch.setattr(block_moves, "drawn_move", lambda *_: move)
    point, columns = a_point(), Columns(compile(SPACE))
    row = columns.row(point, np.full(len(columns), np.nan))
    found = Blocks(columns).moved(row[None], 1, np.random.default_rng(0))
    moved = columns.point(np.where(np.isnan(found[0]), 0.5, found[0]))
    before = blocks_of(point)
    assert blocks_of(moved) == [before[number - 1] for number in order]
    assert moved["other"] == point["other"]
    replay(SPACE, moved)


def test_a_move_keeps_the_number_in_its_domain() -> None:
    sizes: Any = one_of(1, 2, 4)
    grid = [(a, b, c) for a in np.linspace(0, 0.99, 9) for b in (0, 0.5, 0.99) for c in (0, 0.99)]
    for count in (1, 2, 4):
        found = [drawn_move("r", count, sizes, chances) for chances in grid]
        kinds = {move.kind for move in found if move is not None}
        assert all(count + move.growth in (1, 2, 4) for move in found if move)
        assert all(move.first != move.second and 1 <= move.first <= count for move in found if move)
        assert kinds == {1: {"doubled"}, 2: set(KINDS) - {"doubled"}, 4: set(KINDS[:2])}[count]
    assert drawn_move("r", 1, None, (0.5, 0.5, 0.5)) is None
    assert drawn_move("r", 0, sizes, (0.5, 0.5, 0.5)) is None


@pytest.mark.parametrize("space", [SPACE, DERIVED])
def test_moved_points_are_points_of_the_space(space: Any) -> None:
    program = compile(space)
    pool, rng, draw = pool_of(program), np.random.default_rng(1), Random(1)
    parents = [pool.handle(program.sample(draw)) for _ in range(6)]
    handles, seen = pool.drawn(parents, Wanted(0, 0, 0, (1,), 160), rng)
    assert len(handles) == len(seen) == (160 if space is SPACE else 20)
    before = {tuple(sorted(pool.point(h, rng).items())) for h in parents}
    after = [pool.point(handle, rng) for handle in handles]
    for point in after:
        replay(space, point)
    assert sum(tuple(sorted(point.items())) not in before for point in after) > len(after) / 3


def test_without_copies_changes_are_made_instead() -> None:
    space: Any = (one_of(1, 2, 3, label="a"), one_of(1, 2, 3, label="b"))
    program = compile(space)
    pool = pool_of(program)
    parents = [pool.handle(program.sample(Random(0)))]
    handles, _ = pool.drawn(parents, Wanted(0, 5, 0, (1,), 7), np.random.default_rng(0))
    assert len(handles) == 12
