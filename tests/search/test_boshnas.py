"""The embedding, the three nets and the climb of the input, each against what it must equal."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from vitruvius.search import BOSHNAS, Distinct, Event, Exhausted, asked, told
from vitruvius.search.boshnas import _Boshnas, fitted_at, ranks
from vitruvius.search.candidates import candidates
from vitruvius.search.embedding import Embedding
from vitruvius.search.features import Features
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
from vitruvius.surrogates import boshnas_nets as nets

QUICK = BOSHNAS(initial=4, steps=6, members=2, climb=3, restarts=4)
LAYERS: Any = Repeat(  # two layers of a heterogeneous encoder: 12 ** 2 points
    (
        one_of("attention", "linear", "convolution", label="operation"),
        one_of(128, 256, label="width"),
        one_of(512, 1024, label="hidden"),
    ),
    times=2,
)
TREE: Any = (
    log_uniform(1e-4, 1.0, label="rate"),
    Repeat(
        (
            one_of((integers(1, 8, label="heads"),), (one_of(5, 9, 13, label="kernel"),)),
            one_of(64, 128, 256, label="width"),
            optional(uniform(0, 1, label="drop")),
        ),
        times=one_of(1, 2, 4),
    ),
)


def begin(searcher: BOSHNAS, space: Any) -> _Boshnas:
    search = searcher.begin(space)
    assert isinstance(search, _Boshnas)
    return search


def double(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=draw, dtype=torch.float64)


# ------------------------------------------------------------------- embedding


def test_a_tree_has_one_vector_and_any_other_decision_another() -> None:
    embedding = Embedding(compile(LAYERS), 16)
    points = list(enumerate_points(LAYERS))
    vectors = embedding.of(points)
    turned = embedding.of([dict(reversed(point.items())) for point in points])
    np.testing.assert_array_equal(vectors, turned)
    for a, b in itertools.combinations(range(len(points)), 2):
        assert np.linalg.norm(vectors[a] - vectors[b]) > 0.1
    gaps = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    changed = np.array([[sum(a[k] != b[k] for k in a) for b in points] for a in points])
    assert gaps[changed == 1].max() < gaps[changed == 6].min()


def test_distances_are_those_of_the_trees() -> None:
    """Of 200 trees of different depths: against features that are hashed without collisions."""
    program, draw = compile(TREE), Random(1)
    points = [program.sample(draw) for _ in range(200)]
    exact = candidates(program, Features(2**14, 0, seed=0)).sums(points).astype(float)
    squares = (exact**2).sum(1)
    of_trees = np.maximum(squares[:, None] + squares - 2 * exact @ exact.T, 0.0) ** 0.5
    vectors = Embedding(program, BOSHNAS().dimensions).of(points)
    of_vectors = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    pairs = np.triu_indices(len(points), 1)
    assert spearmanr(of_trees[pairs], of_vectors[pairs]).statistic > 0.95


def test_a_branch_that_no_random_point_has_taken_is_seen() -> None:
    rare: Any = tuple(one_of(("plain",), ("odd", one_of("a", "b", label="x"))) for _ in range(1))
    for i in range(12):  # one of 4,096 points gets to the bottom
        rare = (one_of(("no",), ("yes", rare), label=f"gate{i}"),)
    program = compile(rare)
    deep = max(enumerate_points(rare), key=len)
    draw = Random(0)
    assert all(len(program.sample(draw)) < len(deep) for _ in range(512))
    last = list(deep)[-1]
    other = {**deep, last: "b" if deep[last] == "a" else "a"}
    a, b = Embedding(program, 16).of([deep, other])
    assert np.linalg.norm(a - b) > 0.1


# ------------------------------------------------------------------------ nets


def test_without_variance_the_network_is_a_perceptron() -> None:
    widths, x = (5, 7, 6, 1), double(9, 5, seed=1)
    means = nets.unpack(nets.initial(3, widths, torch.Generator().manual_seed(0)), widths)
    none = [(torch.zeros_like(w), torch.zeros_like(b)) for w, b in means]
    mean, variance = nets.natural(means, none, x)
    for member in range(3):
        h = x
        for weight, shift in means[:-1]:
            h = torch.relu(h @ weight[member] + shift[member])
        weight, shift = means[-1]
        plain = torch.sigmoid(h @ weight[member] + shift[member])[:, 0]
        torch.testing.assert_close(mean[member], plain, rtol=0, atol=1e-5)
    assert variance.max() < 1e-5


def test_moments_of_a_rectified_normal_number() -> None:
    m, s = torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0]).double(), torch.tensor(0.8).double()
    drawn = torch.relu(m + s.sqrt() * double(400_000, 1, seed=2))
    mean, variance = nets.relu_moments(m, s)
    torch.testing.assert_close(mean, drawn.mean(0), rtol=0, atol=5e-3)
    torch.testing.assert_close(variance, drawn.var(0), rtol=0, atol=1e-2)


def test_moments_of_a_layer_of_normal_numbers() -> None:
    m, s = double(3, 4, seed=3), double(3, 4, seed=4) ** 2
    weight, about = double(1, 4, 2, seed=5), double(1, 4, 2, seed=6) ** 2
    shift, spread = double(1, 1, 2, seed=7), double(1, 1, 2, seed=8) ** 2
    mean, variance = nets.linear_moments(m[None], s[None], (weight, shift), (about, spread))
    n = 200_000
    x = m + s.sqrt() * double(n, 3, 4, seed=9)
    w = weight[0] + about[0].sqrt() * double(n, 4, 2, seed=10)
    y = x @ w + shift[0] + spread[0].sqrt() * double(n, 1, 2, seed=11)
    torch.testing.assert_close(mean[0], y.mean(0), rtol=0.02, atol=0.05)
    torch.testing.assert_close(variance[0], y.var(0), rtol=0.03, atol=0.05)
    certain = nets.linear_moments(m[None], torch.zeros(1, 3, 4).double(), *[(weight, shift)] * 2)
    alone = nets.linear_moments(m, None, (weight, shift), (weight, shift))
    torch.testing.assert_close(certain, alone)


@pytest.mark.parametrize("s", [0.01, 0.5, 4.0])
def test_moments_of_a_sigmoid(s: float) -> None:
    m = torch.tensor([-3.0, -1.0, 0.0, 0.4, 2.0]).double()
    drawn = torch.sigmoid(m + s**0.5 * double(200_000, 1, seed=12))
    mean, variance = nets.sigmoid_moments(m, torch.tensor(s).double())
    torch.testing.assert_close(mean, drawn.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(variance, drawn.var(0), rtol=0, atol=0.02)


def surrogate(seed: int = 3) -> tuple[nets.Surrogate, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((40, 3))
    y = ranks(x[:, 0] - 0.5 * x[:, 1] ** 2, np.sort(x[:, 0] - 0.5 * x[:, 1] ** 2))
    settings = nets.Settings(members=4, steps=60, dropout=0.1, passes=10)
    return nets.fit(x, y, draw.standard_normal((64, 3)), settings, seed), x, y


def test_the_nets_learn_and_repeat_themselves() -> None:
    before = torch.get_rng_state()
    found, x, y = surrogate()
    assert spearmanr(nets.values(lambda v: found.mean_and_noise(v)[0], x), y).statistic > 0.9
    again, other = surrogate()[0], surrogate(seed=4)[0]
    ask = lambda s: nets.values(lambda v: s.bound(v, 0.5, True), x)  # noqa: E731
    np.testing.assert_array_equal(ask(found), ask(again))
    assert not np.array_equal(ask(found), ask(other))
    torch.testing.assert_close(before, torch.get_rng_state())


def test_the_student_knows_what_the_teacher_does() -> None:
    draw = torch.Generator().manual_seed(0)
    points = double(40, 3)
    gains = torch.sigmoid(points[:, 0])
    settings = nets.Settings(4, 100, 0.2, 20)
    everywhere = torch.cat([points, 2 * double(100, 3, seed=1)])
    taught = nets.teach(points, gains, everywhere, settings, draw)
    student, scale = nets.distil(everywhere, taught, settings, draw)
    learnt = scale * torch.nn.functional.softplus(nets.soft(student, everywhere)[0])
    assert (taught > 0).all()
    assert spearmanr(learnt, taught).statistic > 0.8


def test_the_bound_is_of_gains_and_noise_counts_where_it_is_asked_for() -> None:
    found, x, _ = surrogate()
    mean = nets.values(lambda v: found.mean_and_noise(v)[0], x)
    noise = nets.values(lambda v: found.mean_and_noise(v)[1], x)
    unknown = nets.values(found.uncertainty, x)
    quiet = nets.values(lambda v: found.bound(v, 0.7, noise=False), x)
    loud = nets.values(lambda v: found.bound(v, 0.7, noise=True), x)
    np.testing.assert_allclose(quiet, mean + 0.7 * unknown, rtol=1e-12)
    np.testing.assert_allclose(loud, mean + 0.7 * (unknown + noise), rtol=1e-12)
    assert (noise > 0).all() and (unknown > 0).all()


def test_what_was_told_since_moves_the_mean_and_takes_doubt_away() -> None:
    found, x, _ = surrogate()
    near, far = x[:1] + 0.01, x[:1] + 50.0
    mean = lambda s, v: nets.values(lambda t: s.mean_and_noise(t)[0], v)[0]  # noqa: E731
    doubt = lambda s, v: nets.values(s.uncertainty, v)[0]  # noqa: E731
    after = found.told(x[:1], np.array([mean(found, x[:1]) + 0.3]))
    assert mean(after, near) == pytest.approx(mean(found, near) + 0.3, abs=0.1)
    assert mean(after, far) == pytest.approx(mean(found, far), abs=1e-6)
    waiting = found.told(x[:1], np.array([np.nan]))
    assert mean(waiting, near) == pytest.approx(mean(found, near), abs=1e-9)
    assert doubt(waiting, near) < 0.6 * doubt(found, near)
    assert doubt(waiting, far) == pytest.approx(doubt(found, far))


# ------------------------------------------------------------------------ GOBI

PEAK = torch.tensor([0.3, -0.2, 0.5, 0.0], dtype=torch.float64)
STEEP = torch.tensor([1.0, 100.0, 5.0, 0.1], dtype=torch.float64)


def hill(x: Tensor) -> Tensor:
    return -(STEEP * (x - PEAK) ** 2).sum(-1) / 2


def test_curvature_of_a_quadratic_is_exact_without_mixed_terms() -> None:
    x = double(6, 4)
    value, slope, bend = nets.curvature(hill, x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(value, hill(x))
    torch.testing.assert_close(slope, -STEEP * (x - PEAK))
    torch.testing.assert_close(bend, (-STEEP).expand(6, 4))


def test_curvature_has_the_right_mean_with_mixed_terms() -> None:
    a = double(4, 4, seed=1)
    a = a + a.T
    found = nets.curvature(
        lambda x: ((x @ a) * x).sum(-1) / 2, double(4000, 4), torch.Generator().manual_seed(0)
    )[2]
    torch.testing.assert_close(found.mean(0), a.diag(), rtol=0, atol=0.15)


def test_a_step_of_rate_one_is_newtons() -> None:
    wide = torch.full((4,), 10.0, dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    best, value = nets.climb(hill, double(5, 4), -wide, wide, 1, 1.0, draw)
    torch.testing.assert_close(best, PEAK.expand(5, 4), rtol=0, atol=5e-3)  # 1e-4 is added below
    assert value.min() > -1e-4


def bumpy(x: Tensor) -> Tensor:
    return torch.sin(5 * x).sum(-1) - (x**2).sum(-1)


@pytest.mark.parametrize("value", [hill, bumpy])
def test_a_climb_stays_within_bounds_and_never_ends_below_its_start(
    value: Callable[[Tensor], Tensor],
) -> None:
    seen: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return value(x)

    low, high = torch.full((4,), -0.4).double(), torch.full((4,), 0.4).double()
    starts = double(8, 4)
    draw = torch.Generator().manual_seed(0)
    best, found = nets.climb(watched, starts, low, high, 30, 0.5, draw)
    assert all(((x >= low) & (x <= high)).all() for x in seen)
    every = torch.stack([value(x) for x in seen])
    torch.testing.assert_close(found, every.max(0).values)
    torch.testing.assert_close(value(best), found)
    assert (found >= value(starts.clamp(low, high))).all()


def test_many_climbs_at_once_are_as_each_alone() -> None:
    wide = torch.full((4,), 3.0, dtype=torch.float64)
    starts = double(6, 4)
    both = nets.climb(hill, starts, -wide, wide, 4, 0.5, torch.Generator().manual_seed(0))[0]
    for i in range(6):
        draw = torch.Generator().manual_seed(1)
        alone = nets.climb(hill, starts[i : i + 1], -wide, wide, 4, 0.5, draw)[0]
        torch.testing.assert_close(both[i], alone[0])


def test_threads_come_back() -> None:
    before = torch.get_num_threads()
    with nets.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


# ---------------------------------------------------------------------- search


def run(search: Any, score: Any, asks: int) -> list[Point]:
    points = []
    for trial in range(asks):
        points.append(search.ask(trial))
        search.hear(asked(2 * trial, trial, points[-1]))
        search.hear(told(2 * trial + 1, trial, score(points[-1])))
    return points


def wave(point: Point) -> float:
    return -sum((label - 3) ** 2 for label in point.values())


def test_fits_are_at_lengths_that_grow_by_a_fifth() -> None:
    found = sorted({fitted_at(count) for count in range(1, 60)})
    assert found == [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 48, 58]


def test_ranks_and_failures() -> None:
    gains = np.array([0.9, -np.inf, 0.1, 0.5])
    np.testing.assert_allclose(ranks(gains, np.array([0.1, 0.5, 0.9])), [0.75, 0, 0.25, 0.5])


def test_nets_are_trained_once_for_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    original = nets.fit

    def counted(x: Any, y: Any, library: Any, settings: Any, seed: int) -> nets.Surrogate:
        calls.append((len(x), seed))
        return original(x, y, library, settings, seed)

    monkeypatch.setattr(nets, "fit", counted)
    space = tuple(one_of(*range(8), label=name) for name in "abc")
    run(begin(QUICK.replace(diverse=0.0), space), wave, 20)
    assert [length for length, _ in calls] == [4, 5, 6, 8, 10, 12, 15, 18]
    assert len({seed for _, seed in calls}) == len(calls)


def test_noise_counts_only_near_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bool] = []
    original = nets.Surrogate.bound

    def watched(self: Any, x: Tensor, bonus: float, noise: bool) -> Tensor:
        heard.append(noise)
        return original(self, x, bonus, noise)

    monkeypatch.setattr(nets.Surrogate, "bound", watched)
    space = tuple(one_of(*range(8), label=name) for name in "abc")
    searcher = QUICK.replace(initial=2, patience=3, diverse=0.0, uncertain=0.0)
    search = begin(searcher, space)
    for trial, score in enumerate([0.1, 0.5, 0.2, 0.3, 0.4, 0.9]):
        search.hear(asked(0, trial, search.program.sample(Random(trial))))
        search.hear(told(0, trial, score))
        if trial > 0:
            heard.clear()
            search.ask(99)
            assert set(heard) == {trial == 4}, f"after {trial + 1} outcomes"


def test_the_best_of_a_small_space_is_found_without_repeats() -> None:
    space = (*(one_of(*range(5), label=name) for name in "ab"), one_of(0, 3, label="c"))
    search = Distinct(QUICK).begin(space)
    points = run(search, wave, 50)
    assert len({canonical(point) for point in points}) == 50
    assert max(map(wave, points[:25])) == 0
    with pytest.raises(Exhausted):
        search.ask(50)


def test_what_is_infeasible_is_never_asked_twice() -> None:
    space = tuple(one_of(*range(6), label=name) for name in "abc")
    search, refused = begin(QUICK, space), set()
    number = 0
    for trial in range(24):
        for attempt in itertools.count():
            point = search.ask(trial, attempt)
            assert canonical(point) not in refused
            number += 1
            if (point["a"] + point["b"]) % 3 or attempt > 20:
                break
            refused.add(canonical(point))
            body = {"point": point, "attempt": attempt}
            search.hear(Event(number, "rejected", trial, body))
        search.hear(asked(number, trial, point))
        search.hear(told(number, trial, wave(point)))
    assert refused


def test_what_runs_is_not_asked_again() -> None:
    search = begin(QUICK.replace(diverse=0.0), (uniform(0, 1, label="x"), uniform(0, 1, label="y")))
    run(search, lambda p: -((p["x"] - 0.5) ** 2), 12)
    asks = []
    for trial in range(12, 16):  # four workers, none has answered
        asks.append(search.ask(trial))
        search.hear(asked(0, trial, asks[-1]))
    assert len({canonical(point) for point in asks}) == 4
    search.hear(Event(0, "lost", 13))
    search.hear(told(0, 14, None))
    search.hear(told(0, 15, float("nan")))
    assert set(search.running) == {12}
    assert len(search.outcomes) == 14
    search.ask(16)


def test_the_nearest_trial_with_a_score_is_named() -> None:
    search = begin(QUICK, TREE)
    points = [search.program.sample(Random(i)) for i in range(6)]
    assert search.nearest(points[0]) is None
    for trial, point in enumerate(points):
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, None if trial == 2 else 0.5))
    assert [search.nearest(point) for i, point in enumerate(points) if i != 2] == [0, 1, 3, 4, 5]
    assert search.nearest(points[2]) != 2


def test_points_come_nearer_to_the_optimised_inputs() -> None:
    """In a space far larger than the library: what the moves add lies nearer to the goals."""
    space = tuple(uniform(0, 1, label=f"x{i}") for i in range(8))
    search = begin(QUICK.replace(pool=32, local=0.0), space)
    run(search, lambda p: -abs(p["x0"] - 0.4) - abs(p["x1"] - 0.8), 12)
    vectors, handles = search._library(Random(0))
    goals: list[np.ndarray] = []
    original = search.nets.climbed

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(nets, name)

        def climbed(self, *arguments: Any) -> np.ndarray:
            goals.append(original(*arguments))
            return goals[-1]

    search.nets = Watched()
    bound = lambda x: search._surrogate().bound(x, 0.5, False)  # noqa: E731
    more, _ = search._towards(bound, vectors, handles, Random(0))
    gap = lambda rows: np.linalg.norm(goals[0][:, None] - rows[None], axis=-1).min(1)  # noqa: E731
    assert len(more) > len(vectors)
    assert gap(more).mean() < 0.9 * gap(vectors).mean()


def half(n: int) -> int:
    return max(1, n // 2)


def test_a_space_without_columns_is_searched_too() -> None:
    space: Any = (
        integers(1, 8, name="n"),
        Repeat((one_of(*range(5), label="x"),), times=derived(half, "@n")),
    )
    search = begin(QUICK.replace(pool=32), space)
    for point in run(search, lambda p: float(p["@n"]), 8):
        replay(space, point)


def test_three_hundred_trials_in_bounded_memory() -> None:
    search = begin(BOSHNAS(initial=4, steps=2, members=2, climb=1, pool=64), TREE)
    draw = Random(0)

    def held() -> int:
        search.ask(999)
        gc.collect()
        tensors = [o for o in gc.get_objects() if type(o) is torch.Tensor]
        return tracemalloc.get_traced_memory()[0] + sum(t.nbytes for t in tensors)

    tracemalloc.start()
    try:
        sizes = []
        for trial in range(300):
            point = search.ask(trial) if trial % 20 == 0 else search.program.sample(draw)
            search.hear(asked(2 * trial, trial, point))
            search.hear(told(2 * trial + 1, trial, draw.random()))
            if trial in (99, 199, 299):
                sizes.append(held())
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < 2 * max(sizes[1] - sizes[0], 300_000)
    assert sizes[2] < 30e6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initial": 1}, "BOSHNAS.initial must be at least 2; got 1"),
        ({"members": 0}, "BOSHNAS.members must be at least 1; got 0"),
        (
            {"dropout": 1.0},
            r"dropout in \(0, 1\) and local in \[0, 1\]; got dropout=1.0 and",
        ),
        ({"diverse": 0.7, "uncertain": 0.7}, "BOSHNAS.uncertain and .diverse are probabilities"),
        ({"rate": 0.0}, "BOSHNAS needs bonus >= 0 and rate > 0; got bonus=3.0 and rate=0.0"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BOSHNAS(**fields)
