"""What the papers say of soups, on numbers that can be checked by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Candidate, Given, Lineage, Measurement, Stream
from vitruvius.techniques.mergers import GreedySoup, LearnedSoup, UniformSoup, WiSE
from vitruvius.techniques.mergers.learned_soup import fit

LINEAGE = Lineage("start")
Tensors = Mapping[str, Tensor]


def candidate(value: Any, score: float = 0.0, better: Any = "higher", **other: Any) -> Candidate:
    made = {"x": torch.as_tensor(value, dtype=torch.float32)}
    return Candidate(lambda: made, Measurement("score", score, better), LINEAGE, **other)


def given(value_of: Callable[[Tensors], float], better: Any = "higher") -> Given:
    """A judge that remembers what it was asked."""
    return Given(
        rng=torch.Generator().manual_seed(0),
        judge=lambda t: Measurement("score", value_of(t), better),
    )


def near(target: float) -> Callable[[Tensors], float]:
    return lambda t: -abs(float(t["x"].mean()) - target)


def networks(count: int = 5) -> list[Candidate]:
    rng = torch.Generator().manual_seed(1)
    made = [
        {"w": torch.randn(7, 11, generator=rng), "b": torch.randn(7, generator=rng)}
        for _ in range(count)
    ]
    return [Candidate(lambda t=t: t, Measurement("score", 0.5, "higher"), LINEAGE) for t in made]


def test_the_uniform_soup_is_the_mean_in_any_order() -> None:
    candidates = networks()
    soup = UniformSoup().merge(candidates, Given())
    assert soup.shares == (0.2,) * 5
    for name, tensor in soup.tensors.items():
        mean = torch.stack([c.tensors()[name] for c in candidates]).mean(0)
        torch.testing.assert_close(tensor, mean, rtol=0, atol=1e-6)
    for order in itertools.permutations(candidates):
        other = UniformSoup().merge(order, Given())
        for name, tensor in soup.tensors.items():
            torch.testing.assert_close(other.tensors[name], tensor, rtol=0, atol=1e-6)


def test_half_precision_is_summed_in_float32() -> None:
    """300 times 1 + 1/128 in bfloat16: a running sum in bfloat16 would stand still at 256."""
    made = {"x": torch.full((4,), 1 + 1 / 128, dtype=torch.bfloat16)}
    score = Measurement("score", 0.5, "higher")
    soup = UniformSoup().merge([Candidate(lambda: made, score, LINEAGE)] * 300, Given())
    assert torch.equal(soup.tensors["x"], made["x"])


def test_a_soup_of_linear_models_is_their_ensemble() -> None:
    candidates = networks()
    x = torch.randn(20, 11, generator=torch.Generator().manual_seed(2))
    soup = UniformSoup().merge(candidates, Given()).tensors
    logits = [nn.functional.linear(x, c.tensors()["w"], c.tensors()["b"]) for c in candidates]
    ensemble = torch.stack(logits).mean(0)
    torch.testing.assert_close(
        nn.functional.linear(x, soup["w"], soup["b"]), ensemble, rtol=0, atol=2e-6
    )


def test_one_candidate_at_a_time_is_in_memory() -> None:
    """At most the sum and one candidate live at once, and in greedy what is judged of both."""
    import gc
    import weakref

    for merger in (UniformSoup(), GreedySoup()):
        living: list[weakref.ref[Tensor]] = []
        most = 0

        def load(i: int, living: Any = living) -> Tensors:
            nonlocal most
            gc.collect()
            most = max(most, 1 + sum(one() is not None for one in living))
            made = torch.full((8,), float(i))
            living.append(weakref.ref(made))
            return {"x": made}

        candidates = [
            Candidate(lambda i=i, load=load: load(i), Measurement("score", -i, "higher"), LINEAGE)
            for i in range(6)
        ]
        merger.merge(candidates, given(near(2.5)))
        assert most <= 2, type(merger)


def test_the_greedy_soup_by_hand() -> None:
    """1 is the best alone for 2; with 4 it is 2.5, with 0 then 5/3, both nearer; with 9 3.5."""
    candidates = [
        candidate(9, near(2)({"x": torch.tensor(9.0)})),
        candidate(1, -1),
        candidate(0, -2.5),
        candidate(4, -2),
    ]
    soup = GreedySoup().merge(candidates, given(near(2)))
    assert soup.shares == pytest.approx((0, 1 / 3, 1 / 3, 1 / 3))
    assert float(soup.tensors["x"]) == pytest.approx(5 / 3)


@pytest.mark.parametrize("seed", range(20))
def test_the_greedy_soup_is_never_below_the_best(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    values = [float(v) for v in torch.randn(6, generator=rng)]
    for score in (near(float(torch.randn((), generator=rng))), lambda t: -(float(t["x"]) ** 4)):
        candidates = [candidate(v, score({"x": torch.tensor(v)})) for v in values]
        for merger in (GreedySoup(), GreedySoup(ties=True), GreedySoup(shuffled=True)):
            soup = merger.merge(candidates, given(score))
            best = max(score(c.tensors()) for c in candidates)
            assert score(soup.tensors) >= best


def test_lower_is_better_where_the_score_says_so() -> None:
    """Distances to 2 of 5, 1 and 2.5: the last is the best, with 1 it becomes 1.75."""
    away = [candidate(v, abs(v - 2), "lower") for v in (5.0, 1.0, 2.5)]
    soup = GreedySoup().merge(away, given(lambda t: abs(float(t["x"]) - 2), "lower"))
    assert soup.shares == (0.0, 0.5, 0.5)


def test_where_the_best_remains_alone_it_is_untouched() -> None:
    candidates = [candidate(v, near(0)({"x": torch.tensor(v)})) for v in (0.1, 3.0, 5.0)]
    soup = GreedySoup().merge(candidates, given(near(0)))
    assert soup.shares == (1.0, 0.0, 0.0)
    assert torch.equal(soup.tensors["x"], candidates[0].tensors()["x"])


@pytest.mark.parametrize(
    ("merger", "count"),
    [(GreedySoup(), 1), (GreedySoup(ties=True), 3), (GreedySoup(margin=1e-3, ties=True), 1)],
)
def test_ties_are_kept_only_where_that_is_said(merger: GreedySoup, count: int) -> None:
    candidates = [candidate(v, 0.5) for v in (1.0, 2.0, 3.0)]
    soup = merger.merge(candidates, given(lambda t: 0.5))
    assert sum(share > 0 for share in soup.shares) == count
    assert soup.shares[0] > 0, "of equals the first given is the best"


def test_a_candidate_must_help_by_more_than_the_margin() -> None:
    candidates = [candidate(0.0, -0.001), candidate(0.002, -0.001)]
    judge = given(near(0.001))
    assert GreedySoup().merge(candidates, judge).shares == (0.5, 0.5)
    assert GreedySoup(margin=0.01).merge(candidates, judge).shares == (1.0, 0.0)


def test_a_score_that_is_no_number_is_never_kept() -> None:
    candidates = [candidate(1.0, 0.5), candidate(3.0, 0.4)]
    judge = given(lambda t: 0.5 if float(t["x"]) == 1 else float("nan"))
    for merger in (GreedySoup(), GreedySoup(ties=True)):
        assert merger.merge(candidates, judge).shares == (1.0, 0.0)


def test_the_order_is_by_score_or_drawn() -> None:
    asked: list[float] = []

    def score(t: Tensors) -> float:
        asked.append(float(t["x"]))
        return 1.0 if len(asked) == 1 else 0.0

    candidates = [candidate(float(i), i / 10) for i in (3, 7, 1, 9, 5)]
    GreedySoup().merge(candidates, given(score))
    assert asked == [9.0, 8.0, 7.0, 6.0, 5.0], "9, then its means with 7, 5, 3, 1"
    asked.clear()
    GreedySoup(shuffled=True).merge(candidates, given(score))
    assert asked[0] == 9.0 and sorted(asked[1:]) == [5.0, 6.0, 7.0, 8.0]
    assert asked[1:] != [8.0, 7.0, 6.0, 5.0]


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    one = candidate(1.0, 0.5)
    with pytest.raises(ValueError, match=r"that of candidate 1 \(score\) ranks nothing\. Give a"):
        GreedySoup().merge([one, candidate(2.0, better=None)], given(near(0)))
    other = Candidate(one.tensors, Measurement("loss", 0.5, "higher"), LINEAGE)
    with pytest.raises(ValueError, match=r"candidate 1 has loss, and candidate 0 score\. Measure"):
        GreedySoup().merge([one, other], given(near(0)))


# Learned


def learning(target: Tensor, batches: int = 4) -> Given:
    """Logits of 64 points in the plane; the labels are those that the target [2 2] gives."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(64, 2, generator=rng)
    label = (x @ target.T).argmax(1)
    cuts = torch.arange(64).chunk(batches)

    def all_() -> Any:
        for rows in cuts:
            yield Batch({"input": Stream(x[rows])}, {"label": label[rows]}, rows)

    return Given(
        rng=rng,
        batches=all_,
        answers=lambda t, batch: batch.streams["input"].values @ t["x"].T,
    )


GOOD, BAD = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.5], [0.3, -1.0]])


@pytest.mark.parametrize("by_tensor", [True, False])
def test_the_learned_soup_begins_as_the_uniform_one(by_tensor: bool) -> None:
    candidates = [candidate(GOOD), candidate(BAD), candidate(BAD.T)]
    start = LearnedSoup(by_tensor=by_tensor, epochs=0).merge(candidates, learning(GOOD))
    uniform = UniformSoup().merge(candidates, Given())
    torch.testing.assert_close(start.tensors["x"], uniform.tensors["x"], rtol=0, atol=1e-6)
    assert start.shares == pytest.approx(uniform.shares)


@pytest.mark.parametrize("by_tensor", [True, False])
def test_the_learned_soup_finds_who_knows(by_tensor: bool) -> None:
    merger = LearnedSoup(by_tensor=by_tensor, epochs=10)
    soup = merger.merge([candidate(BAD), candidate(GOOD)], learning(GOOD))
    assert soup.shares[1] > 0.8
    right = LearnedSoup(by_tensor=by_tensor, epochs=5).merge(
        [candidate(BAD), candidate(GOOD)], learning(GOOD)
    )
    assert 0.5 < right.shares[1] < soup.shares[1]


def test_each_tensor_has_shares_of_its_own() -> None:
    """One knows the weight, the other the bias; told is the mean by size, 4 numbers to 2."""
    bias = torch.tensor([2.0, -2.0])
    one = {"w": GOOD, "b": -bias}
    two = {"w": BAD, "b": bias}
    made = [Candidate(lambda t=t: t, Measurement("s", 0.5, "higher"), LINEAGE) for t in (one, two)]
    base = learning(GOOD)
    x = torch.cat([batch.streams["input"].values for batch in base.batches()])
    label = (x @ GOOD.T + bias).argmax(1)
    batch = Batch({"input": Stream(x)}, {"label": label}, torch.arange(64))
    seen = base.but(
        batches=lambda: iter([batch] * 8),
        answers=lambda t, b: b.streams["input"].values @ t["w"].T + t["b"],
    )
    soup = LearnedSoup(epochs=8).merge(made, seen)
    of_weight = (soup.tensors["w"] - BAD)[0, 0] / (GOOD - BAD)[0, 0]
    of_bias = (soup.tensors["b"] + bias)[0] / (2 * bias)[0]
    assert of_weight > 0.6 and of_bias > 0.6
    assert soup.shares[0] == pytest.approx(float(4 * of_weight + 2 * (1 - of_bias)) / 6, abs=1e-5)
    whole = LearnedSoup(by_tensor=False, epochs=8).merge(made, seen)
    share = (whole.tensors["w"] - BAD)[0, 0] / (GOOD - BAD)[0, 0]
    assert float(share) == pytest.approx(whole.shares[0], abs=1e-5)


def test_the_temperature_is_learned_or_stays() -> None:
    """What is confident and right may become more so by beta alone."""
    seen: list[float] = []
    base = learning(GOOD)
    batch = next(iter(base.batches()))
    logits = base.answers({"x": GOOD}, batch)
    for beta in (0.5, 1.0, 2.0):
        seen.append(float(fit(logits, batch, torch.tensor(beta))))
    assert seen == sorted(seen, reverse=True)
    made = [candidate(GOOD), candidate(BAD)]
    warm, cold = (LearnedSoup(temperature=t, epochs=10).merge(made, base) for t in (True, False))
    assert not torch.equal(warm.tensors["x"], cold.tensors["x"])


def test_numbers_are_learned_by_squared_error() -> None:
    """The mean of 1 and 5 that gives 2 is a quarter of 5."""
    batch = Batch(
        {"input": Stream(torch.ones(8, 1))}, {"label": torch.full((8, 1), 2.0)}, torch.arange(8)
    )
    seen = Given(
        batches=lambda: iter([batch] * 40),
        answers=lambda t, b: b.streams["input"].values * t["x"],
    )
    soup = LearnedSoup(epochs=5).merge([candidate(1.0), candidate(5.0)], seen)
    assert float(soup.tensors["x"]) == pytest.approx(2, abs=0.05)
    assert soup.shares[1] == pytest.approx(0.25, abs=0.02)


def test_what_it_cannot_learn_from_is_refused() -> None:
    words = Batch({}, {"label": torch.zeros(2, 3, dtype=torch.long)}, torch.arange(2))
    with pytest.raises(ValueError, match=r"logits \[B, C\].*got \[2, 3, 4\] and \[2, 3\].*Greedy"):
        fit(torch.zeros(2, 3, 4), words, torch.ones(()))
    with pytest.raises(ValueError, match=r"got \[2, 4\] and none\. Take GreedySoup"):
        fit(torch.zeros(2, 4), Batch({}, {}, torch.arange(2)), torch.ones(()))
    made = {"n": torch.tensor(1)}
    whole = [Candidate(lambda: made, Measurement("s", 0.5, "higher"), LINEAGE)] * 2
    with pytest.raises(ValueError, match=r"tensors that can be averaged; the candidates have none"):
        LearnedSoup().merge(whole, learning(GOOD))


# Between start and end


def test_wise_takes_the_best_share_of_a_grid() -> None:
    candidates = [candidate(0.0, trained=False), candidate(2.0)]
    found = WiSE(points=5).merge(candidates, given(near(0.6)))
    assert found.shares == (0.75, 0.25)
    assert float(found.tensors["x"]) == 0.5
    swapped = WiSE(points=5).merge(candidates[::-1], given(near(0.6)))
    assert swapped.shares == (0.25, 0.75)


def test_wise_keeps_the_ends_bit_for_bit() -> None:
    zero, one = torch.randn(9), torch.randn(9)
    candidates = [candidate(zero, trained=False), candidate(one)]
    there = WiSE().merge(candidates, given(lambda t: -float((t["x"] - one).abs().sum())))
    assert torch.equal(there.tensors["x"], one) and there.shares == (0.0, 1.0)
    here = WiSE().merge(candidates, given(lambda t: -float((t["x"] - zero).abs().sum())))
    assert torch.equal(here.tensors["x"], zero) and here.shares == (1.0, 0.0)
    tied = WiSE().merge(candidates, given(lambda t: 0.5))
    assert tied.shares == (0.0, 1.0), "of equals the trained weights"


def test_wise_of_several_interpolates_to_their_soup() -> None:
    candidates = [candidate(2.0), candidate(0.0, trained=False), candidate(4.0)]
    found = WiSE(points=3).merge(candidates, given(near(1.5)))
    assert found.shares == (0.25, 0.5, 0.25)
    assert float(found.tensors["x"]) == 1.5


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GreedySoup(margin=-0.1), r"GreedySoup\.margin must be at least 0; got -0\.1"),
        (lambda: LearnedSoup(epochs=-1), r"no negative number of epochs; got .* epochs=-1"),
        (lambda: LearnedSoup(learning_rate=0.0), r"a rate above 0 .* got learning_rate=0\.0"),
        (lambda: WiSE(points=1), r"WiSE\.points must be at least 2, both ends; got 1"),
    ],
)
def test_bad_fields_are_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
