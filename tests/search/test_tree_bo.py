"""The process over trees: against plain formulas, finite differences and brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vitruvius.search import Distinct, TreeBO, asked, told
from vitruvius.search.tree_features import Described, Groups, TreeFeatures
from vitruvius.search.tree_history import BELOW, Warp
from vitruvius.search.tree_pool import Wanted, _Rows, _Walks, pool_of
from vitruvius.search.tree_process import (
    JITTER,
    KINSHIP,
    LEVEL,
    Evidence,
    Scales,
    TreeProcess,
    fitted,
    prior,
)
from vitruvius.space import (
    Point,
    Repeat,
    canonical,
    compile,
    derived,
    enumerate_points,
    integers,
    log_uniform,
    one_of,
    optional,
    replay,
    uniform,
)
from vitruvius.space.columns import Columns

SPACE: Any = (
    log_uniform(1e-4, 1.0, label="rate"),
    Repeat(
        (one_of("thin", "wide", "odd", label="kind"), optional(uniform(0, 1, label="drop"))),
        times=one_of(1, 2, 4),
    ),
    one_of((integers(1, 100, log=True, label="heads"),), ("none",), label="mix"),
)
DERIVED: Any = (
    one_of(1, 2, 3, name="count"),
    Repeat((one_of("a", "b", "c", label="kind"),), times=derived(int, "@count")),
    uniform(0, 1, label="share"),
)


def described(points: list[Point], space: Any = SPACE) -> Described:
    pool = pool_of(compile(space))
    return pool.described([pool.handle(point) for point in points])


def drawn(count: int, space: Any = SPACE, seed: int = 0) -> list[Point]:
    from random import Random

    draw = Random(seed)
    return [compile(space).sample(draw) for _ in range(count)]


def scales_of(groups: Groups, seed: int = 0) -> Scales:
    draw = np.random.default_rng(seed)
    place, whole = (int(of.max()) + 1 for of in (groups.place, groups.whole))
    return Scales(
        draw.uniform(0.1, 1, place),
        draw.uniform(0.1, 1, whole),
        draw.uniform(0.2, 1, 2),
        draw.uniform(0.05, 0.2, 2),
        0.03,
    )


def plain_kernel(groups: Groups, scales: Scales, a: Described, b: Described) -> np.ndarray:
    """The sum of kernels, pair by pair."""
    found = np.zeros((len(a), len(b)))
    sides = (
        (a.place, b.place, scales.place[groups.place]),
        (a.whole, b.whole, scales.whole[groups.whole]),
    )
    for side, (x, y, weight) in enumerate(sides):
        for i, one in enumerate(x.astype(float)):
            for j, other in enumerate(y.astype(float)):
                far, product = (weight * (one - other) ** 2).sum(), (weight * one * other).sum()
                found[i, j] += (
                    scales.variances[side] * math.exp(-far) + scales.slopes[side] * product
                )
    return found


def test_predictions_are_those_of_the_plain_formulas() -> None:
    pool, seen, new = pool_of(compile(SPACE)), described(drawn(30)), described(drawn(9, seed=1))
    scales, targets = scales_of(pool.groups), np.random.default_rng(2).standard_normal(30)
    targets -= targets.mean()
    process = TreeProcess(pool.groups, scales, Evidence(seen, targets))
    own = plain_kernel(pool.groups, scales, seen, seen) + (scales.noise + JITTER) * np.eye(30)
    cross = plain_kernel(pool.groups, scales, new, seen)
    inverse = np.linalg.inv(own)
    mean, spread = process.predicted(new)
    np.testing.assert_allclose(mean, cross @ inverse @ targets, atol=2e-4)
    left = np.diag(plain_kernel(pool.groups, scales, new, new) - cross @ inverse @ cross.T)
    np.testing.assert_allclose(spread, np.sqrt(left), atol=2e-3)
    smooth = plain_kernel(pool.groups, scales, seen, seen) @ inverse @ targets
    np.testing.assert_allclose(process.means_of_seen(), smooth, atol=2e-4)


def test_earlier_trials_have_more_noise_and_a_level_of_their_own() -> None:
    """And what they tell is correlated with what holds here."""
    pool, seen, new = pool_of(compile(SPACE)), described(drawn(30)), described(drawn(9, seed=1))
    scales, targets = scales_of(pool.groups), np.random.default_rng(2).standard_normal(30)
    process = TreeProcess(pool.groups, scales, Evidence(seen, targets, earlier=12, trust=0.25))
    own = np.arange(30) < 18
    noise = scales.noise * np.where(own, 1, 4) + JITTER
    kin = np.where(own[:, None] == own, 1, KINSHIP)
    known = kin * plain_kernel(pool.groups, scales, seen, seen) + LEVEL * np.outer(own, own)
    cross = np.where(own, 1, KINSHIP) * plain_kernel(pool.groups, scales, new, seen) + LEVEL * own
    inverse = np.linalg.inv(known + np.diag(noise))
    mean, spread = process.predicted(new)
    np.testing.assert_allclose(mean, cross @ inverse @ targets, atol=2e-4)
    whole = plain_kernel(pool.groups, scales, new, new) + LEVEL
    left = np.diag(whole - cross @ inverse @ cross.T)
    np.testing.assert_allclose(spread, np.sqrt(left), atol=2e-3)
    np.testing.assert_allclose(process.means_of_seen(), known @ inverse @ targets, atol=2e-4)


def test_fitting_raises_the_posterior_of_scales() -> None:
    """Of targets that depend on one decision alone: what is fitted explains them better."""
    points = drawn(60)
    pool, seen = pool_of(compile(SPACE)), described(points)
    targets = np.array([math.log10(point["rate"]) for point in points])
    targets = (targets - targets.mean()) / targets.std()

    def likelihood(scales: Scales) -> float:
        own = plain_kernel(pool.groups, scales, seen, seen) + (scales.noise + JITTER) * np.eye(60)
        return float(-0.5 * (targets @ np.linalg.solve(own, targets) + np.linalg.slogdet(own)[1]))

    before, after = (
        likelihood(prior(pool.groups)),
        likelihood(fitted(pool.groups, Evidence(seen, targets))),
    )
    assert after > before + 20
    new = drawn(20, seed=7)
    known = Evidence(seen, targets)
    process = TreeProcess(pool.groups, fitted(pool.groups, known), known)
    wanted = np.array([math.log10(point["rate"]) for point in new])
    mean, _ = process.predicted(described(new))
    assert np.corrcoef(mean, wanted)[0, 1] > 0.97


@pytest.mark.parametrize("earlier", [0, 5])
def test_the_gradient_is_that_of_the_posterior(
    earlier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One small step of Adam moves each scale by its rate, in the sign of the finite difference."""
    from vitruvius.search import tree_process

    points = drawn(12)
    pool, seen = pool_of(compile(SPACE)), described(points)
    targets = np.array([math.log10(point["rate"]) for point in points])
    targets -= targets.mean()
    middle = tree_process._middle(pool.groups)
    known = Evidence(seen, targets, earlier, trust=0.25)
    level = known.level()

    def posterior(values: np.ndarray) -> float:
        scales = tree_process._read(values, pool.groups)
        kin = np.where(known.foreign()[:, None] == known.foreign(), 1, scales.kinship)
        own = kin * plain_kernel(pool.groups, scales, seen, seen) + np.outer(level, level)
        own += np.diag(scales.noise * known.noise() + JITTER)
        fit = -0.5 * (targets @ np.linalg.solve(own, targets) + np.linalg.slogdet(own)[1])
        return float(fit - 0.5 * (((values - middle) / tree_process.WIDTH) ** 2).sum())

    monkeypatch.setattr(tree_process, "RATE", 1e-3)
    moved = fitted(pool.groups, known, steps=1)
    odds = moved.kinship / (1 - moved.kinship)
    numbers = [*moved.variances, *moved.slopes, moved.noise, odds]
    steps = np.log(np.concatenate([moved.place, moved.whole, numbers]))
    steps -= middle
    for number in range(len(middle)):
        shift = np.zeros_like(middle)
        shift[number] = 1e-4
        slope = (posterior(middle + shift) - posterior(middle - shift)) / 2e-4
        if abs(slope) > 1e-4:
            assert steps[number] * slope > 0, number


def test_what_holds_as_a_whole_does_not_ask_where() -> None:
    columns = Columns(compile(SPACE))
    features = TreeFeatures(columns)
    pool = _Rows(columns)
    twice = [point for point in drawn(200) if point["repeat.times"] == 2]
    point = next(p for p in twice if p["repeat.1.kind"] != p["repeat.2.kind"])
    kinds = {"repeat.1.kind": point["repeat.2.kind"], "repeat.2.kind": point["repeat.1.kind"]}
    found = pool.described([pool.handle(point), pool.handle({**point, **kinds})])
    assert not np.allclose(found.place[0], found.place[1])
    pairs = {start + i for _, _, size, start in features.pairs for i in range(size * size)}
    alone = [i for i in range(found.whole.shape[1]) if i not in pairs]
    np.testing.assert_allclose(found.whole[0, alone], found.whole[1, alone], atol=1e-6)
    assert not np.allclose(found.whole[0], found.whole[1])  # which stands before which


def test_shares_of_options_and_of_pairs_add_up_to_one() -> None:
    columns = Columns(compile(SPACE))
    features, pool = TreeFeatures(columns), _Rows(columns)
    for point in drawn(20):
        whole = pool.described([pool.handle(point)]).whole[0]
        (_, _, size, start), *_ = features.pairs
        name = features.names.index("repeat.*.kind")
        kinds = whole[: len(features.of_means)][features.of_means == name]
        assert kinds.sum() == pytest.approx(1, abs=1e-5)
        pairs = whole[start : start + size * size].sum()
        assert pairs == pytest.approx(0 if point["repeat.times"] == 1 else 1, abs=1e-5)


def test_a_real_value_counts_beyond_its_cell() -> None:
    a = {**drawn(1)[0], "rate": 1e-3}
    b = {**a, "rate": 1.02e-3}
    found = described([a, b])
    assert np.abs(found.place[0] - found.place[1]).sum() > 1e-3
    assert np.abs(found.whole[0] - found.whole[1]).sum() > 1e-3


@pytest.mark.parametrize("space", [SPACE, DERIVED])
def test_candidates_are_points_of_the_space(space: Any) -> None:
    pool, rng = pool_of(compile(space)), np.random.default_rng(0)
    assert isinstance(pool, _Rows if space is SPACE else _Walks)
    parents = [pool.handle(point) for point in drawn(4, space)]
    handles, seen = pool.drawn(parents, Wanted(16, 32, 16, (1, 2, 4)), rng)
    assert len(seen) == len(handles)
    for handle in handles:
        replay(space, pool.point(handle, rng))
    again = pool.described([pool.handle(pool.point(handle, rng)) for handle in handles])
    np.testing.assert_allclose(again.place, seen.place, atol=0.1)  # whole numbers are rounded
    points = [pool.point(handle, rng) for handle in handles]
    keys = pool.keys([pool.handle(point) for point in points])
    same = {}
    for point, key in zip(points, keys, strict=True):
        assert same.setdefault(key, canonical(point)) == canonical(point)


def test_a_change_leaves_most_of_a_point() -> None:
    pool, rng = pool_of(compile(SPACE)), np.random.default_rng(0)
    parent = drawn(1)[0]
    handles, _ = pool.drawn([pool.handle(parent)], Wanted(0, 200, 0, (1,)), rng)
    changed = [
        sum(point.get(address) != label for address, label in parent.items())
        for point in (pool.point(handle, rng) for handle in handles)
    ]
    assert 0.8 < np.mean(changed) < 3


def targets_of(gains: np.ndarray) -> np.ndarray:
    return Warp(gains)(gains)


def test_targets_press_what_is_low_and_fail_below_it() -> None:
    gains = np.array([-1e9, -1.0, 0.0, 1.0, 2.0, -math.inf])
    found = targets_of(gains)
    assert (np.diff(found[:5]) > 0).all()
    assert found[2] == 0 and found[5] == found[0] - BELOW
    assert found[0] > -30
    np.testing.assert_allclose(targets_of(gains[1:5] * 7 + 3), targets_of(gains[1:5]))
    assert not targets_of(np.array([2.0, 2.0])).any()


def test_large_spaces_are_walked_and_long_ones_share_scales() -> None:
    long: Any = tuple(uniform(0, 1, label=f"x{i}") for i in range(100))
    groups = pool_of(compile(long)).groups
    assert groups.place.max() == groups.whole.max() == 63
    wide: Any = tuple(one_of(*range(30), label=f"x{i}") for i in range(150))
    assert isinstance(pool_of(compile(wide)), _Rows)  # it has an order
    words: Any = tuple(one_of(*(f"w{j}" for j in range(30)), label=f"x{i}") for i in range(300))
    assert isinstance(pool_of(compile(words)), _Walks)


@pytest.mark.parametrize("space", ["small", "derived"])
def test_it_finds_the_best_of_a_space_without_columns_too(space: str) -> None:
    options: Any = (
        one_of(1, 2, 3, name="count"),
        Repeat(
            (one_of("a", "b", "c", label="kind"),),
            times=derived(int, "@count") if space == "derived" else one_of(1, 2, 3),
        ),
    )
    points = list(enumerate_points(options))
    score = lambda p: -sum(v != "b" for k, v in p.items() if k.endswith("kind")) + len(p)  # noqa: E731
    best = max(map(score, points))
    search, found = Distinct(TreeBO(seed=1)).begin(options), []
    for trial in range(len(points)):
        point = search.ask(trial)
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, score(point)))
        found.append(score(point))
    assert best in found[:30]
    assert len(found) == len(points)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"initial": 0}, "TreeBO.initial must be at least 1; got 0"),
        ({"seen": 4}, "TreeBO.seen must be at least 8; got 4"),
        ({"epsilon": 1.5}, r"TreeBO.epsilon must be in \[0, 1\]; got 1.5"),
        ({"per_cost": -1.0}, "TreeBO.per_cost must be an exponent of at least 0; got -1.0"),
    ],
)
def test_what_it_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TreeBO(**fields)
