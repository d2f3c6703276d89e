"""Other packages get our spaces whole: each suggestion is a point, and each option is reached.

Of benchmarks/search_peers.py. What needs a package that is not installed is skipped.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from vitruvius.space import (
    Node,
    Point,
    Repeat,
    compile,
    derived,
    hyper,
    integers,
    log_uniform,
    one_of,
    optional,
    replay,
    uniform,
)
from vitruvius.space.domains import Choice

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import _peer_report as report
import _peer_runs as runs
import _peer_searches as searches
import _peer_spaces as spaces
import _peer_statistics as statistics
import _peer_tasks as tasks
import _rung_runs as rungs
import _tree_space as tree_space

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages


@dataclass(frozen=True)
class Wide(Node):
    heads: int = integers(1, 3)
    share: float = uniform(0.0, 1.0)


@dataclass(frozen=True)
class Plain(Node):
    kind: Any = hyper(one_of("relu", True, 1, None))


@dataclass(frozen=True)
class Layer(Node):
    operation: Any = hyper(one_of(Wide(), Plain()))
    norm: Any = hyper(optional(Plain()))


@dataclass(frozen=True)
class Small(Node):
    rate: float = log_uniform(1e-4, 1.0)
    width: int = one_of(8, 16, 32)
    groups: int = integers(1, 4, log=True)
    layers: tuple[Any, ...] = (Repeat(Layer(), times=one_of(1, 2, 3)),)


SPACE = Small()
FLAT: Any = (
    log_uniform(1e-4, 1.0, label="rate"),
    one_of(8, 16, 32, label="width"),
    one_of("relu", "tanh", True, 1, label="kind"),
    integers(1, 4, log=True, label="heads"),
)


def drawn_by_optuna(space: Any, count: int) -> list[Point]:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [spaces.optuna_point(compile(space), study.ask()) for _ in range(count)]


def drawn_by_hyperopt(space: Any, count: int) -> list[Point]:
    pytest.importorskip("hyperopt")
    from hyperopt import Trials, base, rand

    domain = base.Domain(lambda point: 0.0, spaces.hyperopt_space(space))
    docs = rand.suggest(list(range(count)), domain, Trials(), 0)
    return [spaces.hyperopt_point(compile(space), doc["misc"]["vals"]) for doc in docs]


def drawn_by_config_space(space: Any, count: int) -> list[Point]:
    pytest.importorskip("ConfigSpace")
    found = spaces.config_space(space, 0).sample_configuration(count)
    return [spaces.point_of(compile(space), dict(one)) for one in found]


def drawn_by_neps(space: Any, count: int) -> list[Point]:
    pytest.importorskip("neps")
    import random

    random.seed(0)
    found = spaces.neps_space(space)
    return [spaces.neps_point(compile(space), found.sample()[0]) for _ in range(count)]


DRAWN: list[Callable[[Any, int], list[Point]]] = [
    drawn_by_optuna,
    drawn_by_hyperopt,
    drawn_by_config_space,
    drawn_by_neps,
]


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("space", [SPACE, FLAT, tree_space.SPACE], ids=["small", "flat", "tree"])
def test_each_package_draws_points_of_the_space_and_reaches_all_of_it(
    drawn: Callable[[Any, int], list[Point]], space: Any
) -> None:
    points, copies = drawn(space, 400), re.compile(r"\b\d+\b")
    seen: dict[str, set[Any]] = {}
    for point in points:
        replay(space, point)
        for address, label in point.items():
            for place in (address, copies.sub("*", address)):
                seen.setdefault(place, set()).add((type(label), label))
    for decision in compile(space).unfold():
        domain, address = decision.domain, decision.address
        assert seen[address]
        if space is tree_space.SPACE:  # too many copies for all options of each
            address = copies.sub("*", address)
        if isinstance(domain, Choice):
            assert seen[address] == {(type(x), x) for x in domain.labels}
        elif decision.kind == "integer":
            assert {x for _, x in seen[address]} == set(range(domain.low, domain.high + 1))
        else:
            places = [domain.position(x) for _, x in seen[address]]
            assert min(places) < 0.1 and max(places) > 0.9


@pytest.mark.parametrize("drawn", DRAWN)
def test_options_are_as_likely_as_with_us(drawn: Callable[[Any, int], list[Point]]) -> None:
    points = drawn(FLAT, 1000)
    for label in (8, 16, 32):
        assert 0.26 < np.mean([point["width"] == label for point in points]) < 0.41
    assert 0.42 < np.mean([point["rate"] < 1e-2 for point in points]) < 0.58


@pytest.mark.parametrize("name", searches.PEERS)
@pytest.mark.parametrize("space", [SPACE, FLAT], ids=["small", "flat"])
def test_each_peer_asks_for_points_and_hears_of_failures(name: str, space: Any) -> None:
    peer = searches.PEERS[name]
    pytest.importorskip(peer.module)
    searches.prepare(name)
    search = peer.search(space, 0, 14, -9.0)
    for trial in range(14):
        suggested = search.ask()
        point = search.point(suggested)
        replay(space, point)
        search.tell(suggested, None if trial == 3 else -abs(np.log10(point["rate"]) + 2))


@pytest.mark.parametrize("name", searches.PEERS)
def test_the_seed_alone_decides_what_a_peer_asks(name: str) -> None:
    peer = searches.PEERS[name]
    pytest.importorskip(peer.module)

    def asked(seed: int) -> list[Point]:
        search, points = peer.search(SPACE, seed, 6, -9.0), []
        for _ in range(6):
            suggested = search.ask()
            points.append(search.point(suggested))
            search.tell(suggested, -abs(np.log10(points[-1]["rate"]) + 2))
        return points

    assert asked(1) == asked(1) != asked(2)


def test_what_is_no_tree_is_refused() -> None:
    named = (one_of(1, 2, name="a"), one_of(1, 2, name="a"))
    with pytest.raises(ValueError, match=r"A peer's space is a tree of decisions; .*Leave out"):
        spaces.branches(named)
    copies = (integers(1, 2, name="n", label="n"), Repeat(Plain(), times=derived(int, "@n")))
    with pytest.raises(ValueError, match="A peer's space is a tree of decisions"):
        spaces.branches(copies)
    counted = (Repeat(Plain(), times=integers(1, 2)),)
    with pytest.raises(ValueError, match=r"must follow from a choice; .*Give one_of"):
        spaces.branches(counted)


def test_shared_blocks_are_one_branch() -> None:
    (times,) = [b for b in spaces.branches(SPACE) if b.address.endswith("times")]
    one, two, three = times.contents
    assert one[0] is two[0] is three[0]
    assert [len(inside) for inside in times.contents] == [2, 4, 6]


def test_what_random_search_has_is_the_mean_over_all_draws() -> None:
    regrets = np.array([0.0, 0.3, 0.3, 0.1, 1.0, 0.7])
    for size in range(1, 7):
        drawn = [min(some) for some in itertools.combinations(regrets, size)]
        assert tasks.random_regret(regrets, size) == pytest.approx(np.mean(drawn))
    with pytest.raises(ValueError, match="size must be between 1 and 6, all there are; got 7"):
        tasks.random_regret(regrets, 7)


def test_tables_give_what_was_trained() -> None:
    digits = tasks.table("digits")
    points = [compile(digits.space).sample(Random(seed)) for seed in range(400)]
    gains = [digits.gain(point) for point in points]
    assert None in gains
    assert max(gain for gain in gains if gain is not None) <= digits.best
    assert digits.expected(2048) == 0.0
    assert digits.expected(16) > digits.expected(64) > digits.expected(256) > 0
    assert tasks.instance_of(7) == tasks.instance_of(27) == tasks.instance_of(87) == 7002


def test_single_seeds_are_paired_with_means_of_ours() -> None:
    ours = {0: 1.0, 20: 3.0, 1: 5.0, 2: 7.0}
    assert statistics.pairs(ours, {0: 4.0, 2: 8.0}).tolist() == [[2.0, 4.0], [7.0, 8.0]]
    runs = [
        {"seed": 0, "instance": 1, "regret": {"16": 0.2}},
        {"seed": 1, "instance": 2, "regret": {"16": 0.2, "64": 0.1}},
    ]
    expected = {"1": {"16": 0.4, "64": 0.2}, "2": {"16": 0.2, "64": 0.4}}
    assert statistics.normalised(runs, expected, 16) == {0: 0.5, 1: 1.0}
    assert statistics.normalised(runs, expected, 64) == {1: 0.25}


def test_intervals_hold_what_they_are_of() -> None:
    draw = np.random.default_rng(0)
    both = np.stack([draw.uniform(0.4, 0.6, 20), draw.uniform(0.9, 1.1, 20)], 1)
    ratio, low, high = statistics.ratio_interval(both)
    assert 0.45 < low < ratio < high < 0.55
    mean, low, high = statistics.mean_interval([0.0, 1.0] * 10)
    assert mean == 0.5 and 0.2 < low < 0.5 < high < 0.8
    better = statistics.pooled_difference([both[:, 0] - both[:, 1], np.full(10, -0.1)])
    assert better["p"] < 0.001 and better["high"] < 0 and better["pairs"] == 30
    same = statistics.pooled_difference([np.array([-1.0, 1.0] * 5)])
    assert same["p"] > 0.3 and same["low"] < 0 < same["high"]


def test_holm_steps_down() -> None:
    p = {"a": 0.04, "b": 0.01, "c": 0.03}
    assert statistics.holm(p) == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.06})
    assert statistics.holm({"a": 0.9, "b": 0.8}) == pytest.approx({"a": 1.0, "b": 1.0})


def test_a_run_stops_at_its_cap_and_keeps_what_it_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = runs.run(searches.RANDOM, "digits", 0, [4, 8])
    assert set(whole["regret"]) == {"4", "8"} and whole["evaluations"] == 8
    assert whole["regret"]["4"] >= whole["regret"]["8"]
    with monkeypatch.context() as patched:
        patched.setattr(runs, "HOPE", 1e9)  # a slow beginning does not end it
        cut = runs.run(searches.RANDOM, "tree", 0, [4, 100_000], cap=0.3)
    assert set(cut["regret"]) == {"4"} and 4 < cut["evaluations"] < 100_000
    assert cut["instance"] == 7001
    hopeless = runs.run(searches.OURS, "digits", 0, [16, 100_000], cap=5.0)
    assert (
        hopeless["evaluations"] == 16 and hopeless["hopeless"] and set(hopeless["regret"]) == {"16"}
    )


def ran(peer: str, task: str, seeds: int, regret: float, sizes: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "peer": peer,
            "task": task,
            "seed": seed,
            "instance": tasks.instance_of(seed) if task == "tree" else 0,
            "version": "1",
            "regret": {str(n): regret * (1 + 0.1 * (seed % 3)) for n in sizes},
            "evaluations": sizes[-1],
            "milliseconds": 1.0,
            "memory": [40, 50],
        }
        for seed in range(seeds)
    ]


def figures(ours: float) -> dict[str, Any]:
    """Ours on two tasks beside a peer that reaches 256 on the tree, and one that does not."""
    table, tree = list(tasks.TABLE_SIZES), list(tasks.TREE_SIZES)
    one, other = "Optuna TPE", "SMAC3"
    found = [
        *ran(searches.OURS, "digits", 20, ours, table),
        *ran(searches.OURS, "tree", 100, ours, tree),
        *ran(one, "digits", 20, 0.2, table),
        *ran(one, "tree", 20, 0.2, tree[:3]),
        *ran(other, "digits", 10, 0.3, table),
        *ran(other, "tree", 10, 0.3, tree[:1]),
    ]
    exact = {str(n): 0.4 for n in tree + table}
    return {
        "quick": False,
        "sizes": {"digits": table, "tree": tree},
        "runs": found,
        "expected": {
            "digits": {"0": exact},
            "tree": {str(i): exact for i in tasks.INSTANCES},
        },
        "costs": {
            "TreeBO": {
                "searcher": "TreeBO",
                "trials": 5000,
                "milliseconds": 9.0,
                "calibration": 0.1,
            }
        },
    }


def test_claims_hold_where_ours_is_better_and_missing_peers_fail() -> None:
    held = dict(report.claims(figures(0.1)))
    failed = [said for said, holds in held.items() if not holds]
    assert "NePS was run" in failed and "the task phoneme is there" in failed
    assert any(said.startswith("TreeBO: 9.00 ms") for said in failed)
    assert "some peer reaches 1000 on the tree" in failed
    ours = [said for said in held if said.startswith(("tree, 64", "tree, 256", "all tasks"))]
    assert len(ours) == 5 and not set(ours) & set(failed)
    assert any("tree, 256: 0.5" in said and "Optuna TPE" in said for said in ours)


def test_the_page_says_where_a_peer_wins() -> None:
    lost = figures(0.25)
    failed = [said for said, holds in report.claims(lost) if not holds]
    assert any(said.startswith("tree, 64: 1.2") for said in failed)
    assert any("to Optuna TPE" in said for said in failed)
    text = report.report(lost)
    assert "**Optuna TPE wins at 64**" in text and "beyond chance" in text
    assert "not reached: 0 of 10, at 64" in text
    assert "No peer has the smaller mean regret" in report.report(figures(0.1))


def test_simulated_time_counts_missing_epochs_and_whole_trainings() -> None:
    table = tasks.table("digits")
    clock, network = rungs.Clock(table), int(np.nanargmax(table.last))
    clock.train(network, 2)
    assert clock.used == pytest.approx(2 * table.seconds[network])
    assert clock.best == table.worst
    assert clock.train(network, table.epochs) == clock.best == table.best
    assert clock.used == pytest.approx(table.epochs * table.seconds[network])


@pytest.mark.parametrize("name", rungs.RUNGS)
def test_searches_with_rungs_train_shorter_and_longer(name: str) -> None:
    peer, steps = rungs.RUNGS[name]
    pytest.importorskip(searches.PEERS[peer].module)
    table, untils = tasks.table("digits"), []
    for (network, until, hear), _ in zip(steps(table, 0), range(60), strict=False):
        gain = float(table.gains[network, until - 1])
        untils.append(until)
        hear(None if gain != gain else gain)
    whole = name in (rungs.RANDOM, "TreeBO, whole trainings (ours)")
    assert all(1 <= until <= table.epochs for until in untils)
    assert set(untils) == {table.epochs} if whole else min(untils) < max(untils) == table.epochs
