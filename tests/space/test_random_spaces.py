"""Card 01's invariants over random spaces."""

from __future__ import annotations

import collections
import contextlib
import json
import pickle
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

import vitruvius.space as language
from tests.space import parts
from tests.space.oracle import designs
from tests.space.random_spaces import spaces, trees
from vitruvius.space import (
    Infeasible,
    Node,
    canonical,
    carry,
    compile,
    count,
    decide,
    decisions_of,
    diff,
    digest,
    enumerate_points,
    from_json,
    neighbours,
    replay,
    restrict,
    same,
    sample,
    to_json,
)

few = settings(max_examples=50)  # each of them lists all points of a space, twice
seeds = st.integers(0, 2**32)
WORDS = {**vars(language), **vars(parts)}


def tally(made: Any) -> collections.Counter[str]:
    return collections.Counter(map(repr, made))


def drawn(space: Node, seed: int) -> dict[str, Any]:
    """A random point; no example where the conditions leave next to none."""
    try:
        return sample(space, Random(seed), attempts=50)
    except ValueError:
        assume(False)
        raise


@few
@given(spaces())
def test_enumeration_yields_what_a_plain_recursion_finds_and_count_counts(space: Node) -> None:
    expected = list(designs(space))
    points = list(enumerate_points(space))
    assert len({canonical(point) for point in points}) == len(points)
    assert tally(replay(space, point) for point in points) == tally(expected)
    counted = count(space)
    assert (counted.points, counted.exact, counted.reals) == (len(expected), True, 0)


@given(spaces(finite=False), seeds)
def test_a_point_rebuilds_its_design_in_every_form(space: Node, seed: int) -> None:
    point = drawn(space, seed)
    design = replay(space, point)
    assert design.decided
    assert same(replay(space, json.loads(json.dumps(point))), design)
    assert eval(repr(design), WORDS) == design
    assert from_json(json.loads(json.dumps(to_json(design))), allow=("tests",)) == design
    assert pickle.loads(pickle.dumps(design)) == design
    assert digest(from_json(to_json(design), allow=("tests",))) == digest(design)


@given(spaces(finite=False), seeds)
def test_a_space_comes_back_in_every_form(space: Node, seed: int) -> None:
    point = drawn(space, seed)
    for copy in (
        eval(repr(space), WORDS),
        from_json(json.loads(json.dumps(to_json(space))), allow=("tests", "vitruvius")),
        pickle.loads(pickle.dumps(space)),
    ):
        assert same(copy, space)
        assert digest(copy) == digest(space)
        assert replay(copy, point) == replay(space, point)


@given(spaces(finite=False), seeds)
def test_deciding_leaves_the_space_as_it_is_and_asks_each_decision_once(space, seed) -> None:
    before, asked = to_json(space), []
    rng = Random(seed)

    def choose(decision):
        asked.append(decision.address)
        assert decision.domain.size != 1
        return decision.domain.sample(rng)

    with contextlib.suppress(Infeasible):
        decide(space, choose)
    assert len(set(asked)) == len(asked)
    assert to_json(space) == before


@given(spaces(finite=False), seeds)
def test_the_order_of_a_points_entries_does_not_matter(space: Node, seed: int) -> None:
    point = drawn(space, seed)
    entries = list(point.items())
    Random(seed).shuffle(entries)
    assert same(replay(space, dict(entries)), replay(space, point))
    assert digest(dict(entries)) == digest(point)


@given(trees(2, finite=False), trees(2, finite=False))
def test_independent_decisions_commute(first: Any, second: Any) -> None:
    forth, back = parts.Holder(first, second), parts.Redloh(second, first)
    assert compile(forth).walk(parts.by_address) == compile(back).walk(parts.by_address)
    one, other = decide(forth, parts.by_address), decide(back, parts.by_address)
    assert (one.first, one.second) == (other.first, other.second)


@given(spaces(finite=False), seeds)
def test_an_unedited_space_keeps_its_points(space: Node, seed: int) -> None:
    point = drawn(space, seed)

    def never(decision: Any) -> Any:
        raise AssertionError(f"{decision} was asked again")

    assert same(carry(space, point, never), point)


@few
@given(spaces(), seeds)
def test_samples_are_among_the_points(space: Node, seed: int) -> None:
    point = drawn(space, seed)
    assert canonical(point) in {canonical(one) for one in enumerate_points(space)}


@few
@given(spaces(finite=False), seeds)
def test_neighbours_move_one_decision(space: Node, seed: int) -> None:
    point = drawn(space, seed)
    seen = set()
    for moved in neighbours(space, point, Random(seed)):
        shared = [address for address in point if address in moved]
        changed = [address for address in shared if not same(point[address], moved[address])]
        assert len(changed) == 1
        brought = [change.address for change in diff(point, moved)]
        assert set(brought) >= set(changed)
        seen.add((changed[0], repr(moved[changed[0]])))
        replayed = [d.address for d in decisions_of(space, moved)]
        assert replayed == list(moved)
    possible = sum(len(d.domain.neighbours(point[d.address])) for d in decisions_of(space, point))
    assert len(seen) <= possible
    if not any("where" in repr(item) or "derived" in repr(item) for item in space.items):  # type: ignore[attr-defined]
        assert len(seen) == possible


@few
@given(spaces(), seeds)
def test_restricting_a_decision_keeps_exactly_the_designs_that_agree(space, seed) -> None:
    point = drawn(space, seed)
    assume(point)
    address = Random(seed).choice(sorted(point))
    label = point[address]
    restricted = restrict(space, {address: label})
    agreeing = [p for p in enumerate_points(space) if same(p.get(address, label), label)]
    found = list(enumerate_points(restricted))
    assert tally(replay(restricted, p) for p in found) == tally(replay(space, p) for p in agreeing)
    assert count(restricted).points == len(agreeing)
    assert all(address not in p for p in found)
