"""What a user believes: where it applies, what it draws, how it leads a search and lets go."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest

from vitruvius.search import (
    ASHA,
    SMBO,
    Distinct,
    Event,
    Near,
    Prior,
    RandomSearch,
    RegularizedEvolution,
    Searcher,
    TreeBO,
    Weights,
    ask,
    asked,
    beliefs,
    near,
    told,
)
from vitruvius.search.beliefs import by_ratio, weighing, written_beliefs
from vitruvius.search.candidates import candidates
from vitruvius.search.features import Features
from vitruvius.search.leaning import LEAST, Leaning
from vitruvius.search.tree_pool import pool_of
from vitruvius.space import (
    Point,
    Repeat,
    canonical,
    compile,
    enumerate_points,
    from_json,
    integers,
    log_uniform,
    one_of,
    optional,
    ordered,
    replay,
    to_json,
    uniform,
)

SPACE: Any = (
    log_uniform(1e-5, 1e-1, label="rate"),
    Repeat((one_of("conv", "pool", "attend", label="kind"), optional(3, label="norm")), times=3),
    integers(1, 100, log=True, label="width"),
)
BELIEVED = beliefs({"rate": near(1e-3, within=3.0), "repeat.*.kind": {"attend": 6, "conv": 3}})


def leaning(space: Any, of: dict[str, Any]) -> Leaning:
    program = compile(space)
    return Leaning(program, weighing(program, beliefs(of)))


@pytest.mark.parametrize(
    ("written", "address", "fits"),
    [
        ("rate", "rate", True),
        ("rate", "adapt.optimizer=AdamW.rate", True),
        ("AdamW.rate", "adapt.optimizer=AdamW.rate", True),
        ("AdamW.rate", "adapt.optimizer=SGD.rate", False),
        ("rate", "generate", False),
        ("optimizer", "optimizer=AdamW.rate", False),
        ("width", "@width", True),
        ("@width", "@width", True),
        ("blocks.*.kind", "model.blocks.repeat.12.kind", True),
        ("blocks.*.kind", "blocks.kind", False),
        ("repeat.*.norm", "repeat.*.norm", True),
        ("a+b", "aab", False),
    ],
)
def test_an_address_is_the_end_of_one(written: str, address: str, fits: bool) -> None:
    assert Near(written, 1.0).matches(address) is fits


def test_beliefs_are_written_as_they_are_meant() -> None:
    given = {"rate": near(1e-3, within=3.0), "width": 8, "kind": {"conv": 2}}
    assert beliefs(given) == (
        Near("rate", 1e-3, 3.0),
        Near("width", 8),
        Weights("kind", (("conv", 2.0),)),
    )
    words = ["a=B.rate=1e-3~3", "width=8", "kind=conv:2", "norm=none", "name=AdamW"]
    assert beliefs(written_beliefs(words)) == (
        Near("a=B.rate", 1e-3, 3.0),
        Near("width", 8),
        Weights("kind", (("conv", 2.0),)),
        Near("norm", None),
        Near("name", "AdamW"),
    )
    prior = Prior(SMBO(seed=3), BELIEVED)
    assert from_json(to_json(prior)) == prior


def test_labels_are_drawn_as_they_are_weighed() -> None:
    found, draw = (
        leaning(SPACE, {"rate": near(1e-3, 3.0), "kind": {"attend": 6, "conv": 3}}),
        Random(0),
    )
    points = [found.draw(draw) for _ in range(4000)]
    kinds = Counter(point["repeat.2.kind"] for point in points)
    assert kinds["attend"] / 4000 == pytest.approx(0.6, abs=0.03)
    assert kinds["pool"] / 4000 == pytest.approx(0.1, abs=0.02)
    rates = np.log([point["rate"] for point in points])
    assert rates.mean() == pytest.approx(math.log(1e-3), abs=0.06)
    assert rates.std() == pytest.approx(math.log(3.0), abs=0.06)
    norms = Counter(point["repeat.1.norm"] for point in points)  # of which nothing is believed
    assert norms[3] / 4000 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("domain", "belief"),
    [
        (log_uniform(1e-5, 1e-1), near(1e-3, 3.0)),
        (uniform(-1.0, 1.0), near(0.3, 0.2)),
        (integers(1, 100, log=True), near(8, 2.0)),
        (integers(0, 9), near(0)),
        (one_of(16, 32, 64, 128), near(32, 2.0)),
        (one_of("a", "b", "c"), {"a": 5}),
        (ordered("s", "m", "l"), near("m", 0.5)),
        (optional(3), near(None)),
    ],
)
def test_a_density_has_the_mean_one_over_what_the_domain_draws(domain: Any, belief: Any) -> None:
    address = "it"
    program = compile((domain,))
    address = next(iter(program.unfold())).address
    found = leaning((domain,), {address: belief}).density(address, domain)
    draw = Random(1)
    densities = [math.exp(found.log(domain.sample(draw))) for _ in range(20_000)]
    assert np.mean(densities) == pytest.approx(1.0, abs=0.05)
    assert min(densities) >= LEAST / 20


def test_numbers_count_by_ratio_where_they_grow_so() -> None:
    assert (
        by_ratio(one_of(1e-4, 1e-3, 1e-2)) and by_ratio(one_of(16, 32, 64)) and by_ratio(one_of(3))
    )
    assert not by_ratio(one_of(1, 2, 3)) and not by_ratio(one_of(0, 1, 10))
    assert by_ratio(log_uniform(1, 2)) and not by_ratio(integers(1, 1000))


def test_the_last_belief_on_a_decision_counts() -> None:
    space: Any = (one_of((uniform(0, 1, label="x"),), (uniform(0, 1, label="x"),), label="o"),)
    general, own = sorted(d.address for d in compile(space).unfold() if d.address.endswith("x"))
    found = leaning(space, {"x": near(0.9, 0.05), own: near(0.1, 0.05)})
    for address, center in ((general, 0.9), (own, 0.1)):
        density = found.density(address, uniform(0, 1))
        assert density is not None
        assert density.log(center) > 1 > -1 > density.log(1 - center)


def test_arrays_of_candidates_and_single_points_agree() -> None:
    space: Any = (
        one_of(1, 2, 4, label="rate"),
        Repeat((one_of("conv", "pool", label="kind"),), times=one_of(1, 2, 3)),
        integers(1, 20, label="width"),
    )
    of = {"rate": near(2), "*.kind": {"conv": 3}, "width": near(7, 2.0)}
    found, program = leaning(space, of), compile(space)
    pool = candidates(program, Features(8, 0, seed=0))
    _, handles = pool.draw(50, 0, [], Random(0))
    points = [pool.point(handles[i]) for i in range(50)]
    expected = [found.log(point) for point in points]
    np.testing.assert_allclose(pool.log_densities(handles, found), expected, atol=1e-9)
    others = pool_of(program)
    own = [others.handle(point) for point in points]
    np.testing.assert_allclose(others.log_densities(own, found), expected, atol=1e-9)
    times = {len(p): 0.0 for p in points}
    assert len(times) > 1, "points of different length were compared"


def scored(points: list[Point], better_at: dict[str, Any]) -> list[float]:
    return [sum(p.get(a) == v for a, v in better_at.items()) for p in points]


WIDE: Any = tuple(one_of(*range(12), label=f"x{i}") for i in range(6))


def regrets(searcher: Searcher, trials: int) -> np.ndarray:
    """Distance of the best point so far to the optimum (3, 3, ...), by trial."""
    search, found = Distinct(searcher).begin(WIDE, "lower"), []
    for trial in range(trials):
        point = search.ask(trial)
        loss = float(sum((label - 3) ** 2 for label in point.values()))
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, loss))
        found.append(loss)
    return np.minimum.accumulate(found)


@pytest.mark.parametrize("inner", [SMBO(), TreeBO(), RegularizedEvolution()])
def test_a_good_prior_is_faster_and_a_misleading_one_is_recovered_from(inner: Searcher) -> None:
    seeds = range(3)
    good = beliefs({f"x{i}": near(3, within=1.5) for i in range(6)})
    wrong = beliefs({f"x{i}": near(10, within=1.5) for i in range(6)})

    def mean(given: tuple[Any, ...]) -> np.ndarray:
        runs = [regrets(Prior(inner.replace(seed=s), given), 90) for s in seeds]
        return np.mean(runs, axis=0)

    without, helped, misled = mean(()), mean(good), mean(wrong)
    assert helped[9] < 0.5 * without[9]
    assert misled[9] > without[9]
    start = without[0]
    assert misled[-1] - without[-1] < 0.1 * start


def test_without_beliefs_it_is_the_searcher_inside() -> None:
    events: list[Event] = []
    for trial in range(12):
        point = ask(Prior(SMBO(seed=5)), WIDE, events, trial)
        assert point == ask(SMBO(seed=5), WIDE, events, trial)
        events += [asked(2 * trial, trial, point), told(2 * trial + 1, trial, 0.1 * point["x0"])]


def test_the_influence_fades() -> None:
    search = Prior(RandomSearch(), BELIEVED, strength=4.0).begin(SPACE)
    assert search.chance == 1.0  # type: ignore[attr-defined]
    for trial in range(12):
        search.hear(asked(2 * trial, trial, search.ask(trial)))
        search.hear(told(2 * trial + 1, trial, 0.0 if trial % 2 else None))
    assert search.chance == pytest.approx((4 / 16) ** 2)  # type: ignore[attr-defined]
    assert search.believed.power == pytest.approx(4 / 12)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "inner", [SMBO(initial=3), TreeBO(initial=3), ASHA(), RegularizedEvolution(population=4)]
)
def test_kept_and_folded_states_ask_the_same(inner: Searcher) -> None:
    searcher = Prior(inner, BELIEVED, strength=3.0)
    kept, events = searcher.begin(SPACE), []
    for trial in range(25):
        point = kept.ask(trial)
        assert point == ask(searcher, SPACE, events, trial)
        replay(SPACE, point)
        new = [asked(2 * trial, trial, point, share=kept.share(point))]
        new.append(told(2 * trial + 1, trial, point["rate"] if trial % 5 else None))
        for event in new:
            kept.hear(event)
        events += new


def test_a_small_space_is_gone_through_without_repeats() -> None:
    space: Any = (one_of(1, 2, 4, label="rate"), one_of("a", "b", "c", label="kind"))
    search = Distinct(Prior(RandomSearch(), beliefs({"kind": {"a": 50}, "rate": 4}))).begin(space)
    found = []
    for trial in range(9):
        found.append(canonical(search.ask(trial)))
        search.hear(asked(2 * trial, trial, search.ask(trial)))
        search.hear(told(2 * trial + 1, trial, 0.0))
    assert sorted(found) == sorted(map(canonical, enumerate_points(space)))
    assert '"a"' in found[0]


def begun(of: dict[str, Any], space: Any = SPACE) -> None:
    Prior(RandomSearch(), beliefs(of)).begin(space)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"rates": near(1.0)}, r"No decision of this space has the address 'rates'\. Did you mean"),
        ({"rate": near("fast")}, r"Near\.value must be a number, as 'rate' is one"),
        ({"rate": near(-1.0)}, r"counts by ratio .* Near needs a value above 0"),
        ({"rate": near(1e-3, within=0.5)}, r"within as a factor above 1; got 0\.001 and 0\.5"),
        ({"rate": {"a": 2.0}}, r"Weights are of options, and 'rate' is a real number"),
        ({"*.kind": {"convolve": 2.0}}, r"cannot be 'convolve'\. Did you mean 'conv'"),
        ({"*.kind": near("conv", within=2.0)}, r"whose options have no order\. Leave it out"),
        ({"*.kind": {"conv": 0.0}}, r"must be finite and above 0; got 0\.0 for 'conv'"),
    ],
)
def test_what_does_not_fit_is_refused(of: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        begun(of)


def test_a_belief_fits_one_of_the_decisions_that_it_matches() -> None:
    space: Any = (
        one_of((one_of("a", "b", label="x"),), (log_uniform(0.1, 1.0, label="x"),), label="o"),
    )
    begun({"x": {"a": 3}}, space)


def test_strength_beliefs_and_words_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Prior\.strength must be a number of trials above 0"):
        Prior(strength=0.0)
    with pytest.raises(ValueError, match=r"Prior\.beliefs holds beliefs"):
        Prior(beliefs=(RandomSearch(),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"holds pairs of an option and a number"):
        Weights("kind", (("conv",),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Near\.within must be above 0; got -1\.0"):
        near(1e-3, within=-1.0)
    for word in ("rate", "rate=", "rate=1~x", "kind=a:b"):
        with pytest.raises(ValueError, match=r"A prior is ADDRESS=VALUE"):
            written_beliefs([word])
