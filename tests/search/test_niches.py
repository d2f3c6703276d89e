"""The best of each option are kept, and options take turns."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from vitruvius.search import Distinct, TreeBO, asked, told
from vitruvius.search.niches import HELD, RUN, Niche, Niches
from vitruvius.search.tree_pool import Wanted, pool_of
from vitruvius.space import Point, Repeat, compile, derived, one_of, uniform

GATED: Any = (
    one_of((uniform(0, 1, label="decay"),), (uniform(0, 1, label="momentum"),), label="optimizer"),
    uniform(0, 1, label="rate"),
    one_of("a", "b", label="plain"),
)


def test_the_best_trials_of_each_option_are_kept() -> None:
    first, second = Niche("kind", 0, 0), Niche("kind", 0, 1)
    niches = Niches([first, second])
    for trial in range(20):
        niches.add([first if trial % 2 else second], trial, float(trial))
    assert niches.next(0, [second]) == (first, [19 - 2 * i for i in range(HELD)])
    assert niches.next(0, [first]) == (second, [18 - 2 * i for i in range(HELD)])


def test_kinds_take_turns_and_the_better_options_come_first() -> None:
    niches = Niches(
        [Niche(kind, column, cell) for column, kind in enumerate("ab") for cell in (0, 1, 2)]
    )
    for cell, gain in ((0, 3.0), (1, 1.0), (2, 2.0)):
        niches.add([Niche("a", 0, cell)], cell, gain)
    around = [Niche("a", 0, 0), Niche("b", 1, 0)]
    found = [niches.next(turn, around) for turn in range(0, 4 * RUN, RUN)]
    assert [n and (n[0].kind, n[0].cell) for n in found] == [("a", 2), ("b", 1), ("a", 1), ("b", 2)]
    assert found[1] is not None and found[1][1] == []  # nothing was tried there
    assert niches.next(1, around) == found[0]  # several asks in a run
    assert niches.next(0, []) is None  # the best point takes none of these decisions


def test_niches_are_the_options_that_open_decisions() -> None:
    pool = pool_of(compile(GATED))
    assert {niche.kind for niche in pool.niches} == {"optimizer"}
    assert len(pool.niches) == 2
    for seed in range(5):
        point = compile(GATED).sample(Random(seed))
        (inside,) = pool.inside(pool.handle(point))
        assert inside == pool.niches["momentum" in "".join(point)]
    flat: Any = (one_of(1, 2, label="a"), one_of("x", "y", label="b"))
    assert not pool_of(compile(flat)).niches
    walked: Any = (
        one_of(1, 2, name="n"),
        Repeat((one_of("a", "b", label="k"),), times=derived(int, "@n")),
    )
    assert not pool_of(compile(walked)).niches


def test_all_candidates_are_in_the_niche() -> None:
    pool, rng, program = pool_of(compile(GATED)), np.random.default_rng(0), compile(GATED)
    parents = [pool.handle(program.sample(Random(seed))) for seed in range(4)]
    for niche in pool.niches:
        handles, _ = pool.drawn(parents, Wanted(8, 16, 8, (1, 2)), rng, niche)
        assert all(pool.inside(handle) == [niche] for handle in handles)


def score(point: Point) -> float:
    """A ridge that is easy to find, and a higher one where rate and momentum have to meet."""
    decay, momentum = (
        next((v for a, v in point.items() if a.endswith(name)), None)
        for name in ("decay", "momentum")
    )
    if decay is not None:
        return 0.8 - (point["rate"] - 0.5) ** 2 - 0.1 * (decay - 0.5) ** 2
    assert momentum is not None
    return 1.0 - 12 * (point["rate"] - 0.9) ** 2 - 12 * (momentum - 0.1) ** 2


def best_of(searcher: TreeBO, trials: int) -> float:
    search, best = Distinct(searcher).begin(GATED), -9.0
    for trial in range(trials):
        point = search.ask(trial)
        best = max(best, score(point))
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, score(point)))
    return best


def test_what_has_to_change_with_an_option_is_found() -> None:
    assert all(best_of(TreeBO(seed=seed), 50) > 0.95 for seed in range(3))
