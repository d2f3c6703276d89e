"""Kinds of domains, and what follows from them: positions, bisection, neighbours, limits."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.space.parts import Conv, ReLU
from vitruvius.space import either_order, integers, log_uniform, one_of, optional, ordered, uniform
from vitruvius.space.domains import Domain

whole = st.builds(
    lambda low, more, log: integers(low, low + more, log=log),
    st.integers(1, 50), st.integers(0, 60), st.booleans(),
)  # fmt: skip
choices = st.lists(st.integers(-50, 50), min_size=1, max_size=40, unique=True).map(
    lambda xs: one_of(*xs)
)
real = st.builds(
    lambda word, low, more: word(low, low + more),
    st.sampled_from([uniform, log_uniform]), st.floats(1e-6, 10), st.floats(1e-6, 1e6),
)  # fmt: skip


def labels(domain: Any) -> list[Any]:
    return (
        list(domain.labels) if hasattr(domain, "labels") else [*range(domain.low, domain.high + 1)]
    )


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (one_of(1, 2, 4), "ordered"),
        (one_of(0.5, 0.1), "ordered"),
        (one_of(1, 4, 2), "categorical"),
        (one_of(1, 1.0), "categorical"),
        (one_of(False, True), "categorical"),
        (one_of("a", "b"), "categorical"),
        (ordered("small", "large"), "ordered"),
        (ordered(3, 1, 2), "ordered"),
        (optional(3), "categorical"),
        (either_order(ReLU(), Conv()), "categorical"),
        (integers(1, 3), "integer"),
        (uniform(0, 1), "real"),
        (log_uniform(1, 2), "real"),
    ],
)
def test_kinds(domain: Domain, kind: str) -> None:
    assert domain.kind == kind


@given(st.one_of(whole, choices))
def test_each_label_lies_at_its_position(domain: Any) -> None:
    found = labels(domain)
    positions = [domain.position(label) for label in found]
    assert positions == sorted(positions)
    assert all(0 < u < 1 for u in positions)
    assert [domain.at(u) for u in positions] == found
    assert (domain.at(0.0), domain.at(1.0)) == (found[0], found[-1])


@given(choices)
def test_bisection_reaches_every_label_in_log2_steps(domain: Any) -> None:
    """Card 01, invariant 2: binary decisions per n-way node are floor or ceiling of log2 n."""
    n = domain.size
    depths: dict[Any, int] = {}

    def halve(left: int, right: int, depth: int) -> None:
        if right - left == 1:
            depths[domain.at((left + right) / 2 / n)] = depth
            return
        middle = (left + right) // 2
        halve(left, middle, depth + 1)
        halve(middle, right, depth + 1)

    halve(0, n, 0)
    assert list(depths) == labels(domain)
    assert set(depths.values()) <= {math.floor(math.log2(n)), math.ceil(math.log2(n))}


@given(real, st.floats(0, 1))
def test_real_positions(domain: Any, u: float) -> None:
    value = domain.at(u)
    assert domain.contains(value)
    assert domain.position(value) == pytest.approx(u, abs=1e-5)


def test_positions_by_hand():
    assert log_uniform(1e-4, 1e-2).at(0.5) == pytest.approx(1e-3)  # type: ignore[attr-defined]
    assert uniform(2, 4).position(2.5) == 0.25  # type: ignore[attr-defined]
    assert one_of(1, 2, 4, 8).position(4) == 0.625  # type: ignore[attr-defined]


def test_logarithmic_integers_are_drawn_by_ratio():
    domain: Any = integers(1, 1000, log=True)
    rng = Random(0)
    small = sum(domain.sample(rng) <= 31 for _ in range(4000)) / 4000
    assert small == pytest.approx(math.log(31.5 / 0.5) / math.log(1000.5 / 0.5), abs=0.03)


@given(st.one_of(whole, choices, real), st.integers(0, 2**32))
def test_samples_and_neighbours_lie_inside(domain: Any, seed: int) -> None:
    label = domain.sample(Random(seed))
    assert domain.contains(label)
    beside = domain.neighbours(label)
    assert all(domain.contains(other) and other != label for other in beside)
    assert len(set(beside)) == len(beside)
    assert beside or domain.size == 1 or domain.kind == "real"


def test_neighbours_by_hand():
    assert one_of(1, 2, 4, 8).neighbours(2) == (1, 4)  # type: ignore[attr-defined]
    assert one_of("a", "b", "c").neighbours("b") == ("a", "c")  # type: ignore[attr-defined]
    assert integers(1, 9).neighbours(1) == (2,)  # type: ignore[attr-defined]
    assert integers(1, 99, log=True).neighbours(50) == (45, 55)  # type: ignore[attr-defined]
    assert uniform(0, 1).neighbours(0.5) == pytest.approx((0.4, 0.6))  # type: ignore[attr-defined]


def test_labels_tell_1_1_0_and_true_apart():
    domain: Any = one_of(1, 1.0, True, "1")
    assert [domain.index(x) for x in (1, 1.0, True, "1")] == [0, 1, 2, 3]
    assert not domain.contains(None) and not domain.contains([1])
    assert not integers(0, 1).contains(True)  # type: ignore[attr-defined]
    assert not uniform(0, 1).contains(True)  # type: ignore[attr-defined]
    assert uniform(0, 1).contains(1)  # type: ignore[attr-defined]


def test_a_limited_domain_keeps_labels_and_kind():
    domain: Any = one_of(Conv(1), Conv(2), ReLU())
    assert domain.limit(["ReLU", "Conv#2"]).labels == ("Conv#2", "ReLU")
    assert one_of(4, 1, 2).limit([1, 2]).kind == "categorical"  # type: ignore[attr-defined]
    assert repr(integers(1, 9, log=True).limit([2, 4])) == "integers(2, 4, log=True)"  # type: ignore[attr-defined]
    assert "None" in repr(optional(3).limit([None]))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"7 is not among the options \[1, 2\]"):
        one_of(1, 2).limit([7])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"0.5 is not a whole number in \[1, 3\]"):
        integers(1, 3).limit([0.5])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"2 is not a number in \[0.0, 1.0\]"):
        uniform(0, 1).limit([0.5, 2])  # type: ignore[attr-defined]
