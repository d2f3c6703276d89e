"""Models as candidates: their tensors by name, put back, judged, and answered with gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import TASK, answers, base, batch, given, train
from vitruvius.contracts import (
    Batch,
    Given,
    Lineage,
    Measurement,
    Model,
    Stream,
    Task,
    base_parameters,
)
from vitruvius.interop.peft import LoRA
from vitruvius.techniques.adapters import FullTuning
from vitruvius.techniques.mergers import GreedySoup, LearnedSoup, UniformSoup
from vitruvius.train.adapting import attach
from vitruvius.train.building import Body
from vitruvius.train.candidates import (
    answers_of,
    judge_of,
    of_adapted,
    of_model,
    put,
    restate,
    start_of,
    tensors_of,
)

SCORE = Measurement("accuracy", 0.5, "higher")


def trained(seed: int, kind: str = "ours") -> Model:
    """One base, trained in an order and with dropout of its own."""
    model = base(kind)
    start = start_of(model)
    with torch.no_grad():
        rng = torch.Generator().manual_seed(seed)
        for tensor in tensors_of(model).values():
            if tensor.is_floating_point():
                tensor += 0.02 * torch.randn(tensor.shape, generator=rng)
    return replace(model, lineage=Lineage(start))


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_tensors_go_out_and_in_again(kind: str) -> None:
    one, two = trained(1, kind), trained(2, kind)
    expected = answers(one)
    assert not torch.equal(answers(two), expected)
    put(two, tensors_of(one))
    assert torch.equal(answers(two), expected)
    assert start_of(one) == start_of(two) != start_of(base(kind))
    names = tensors_of(one)
    assert set(base_parameters(one)) <= set(names)
    assert all(name.startswith(("input.", "heads.task.")) for name in names)


def test_what_is_shared_has_one_name() -> None:
    one = base("ours")
    body = one.bodies["input"]
    assert tensors_of(Model({"input": body, "text": body}, one.heads, one.lineage)).keys() == (
        tensors_of(one).keys()
    )


def test_other_tensors_are_refused_and_nothing_is_written() -> None:
    model = base("ours")
    before = start_of(model)
    made = {name: t + 1 if t.is_floating_point() else t for name, t in tensors_of(model).items()}
    last = sorted(made)[-1]
    for wrong, said in (
        ({**made, last: made[last][:1]}, r"are not of this model: it has .* and was given"),
        ({n: t for n, t in made.items() if n != last}, r"and was given nothing"),
        ({**made, "zzz": torch.zeros(2)}, r"it has 'zzz' as nothing, and was given \[2\]"),
    ):
        with pytest.raises(ValueError, match=said):
            put(model, wrong)
        assert start_of(model) == before


def test_the_soup_of_models_is_a_model() -> None:
    members = [trained(i) for i in range(3)]
    soup = UniformSoup().merge([of_model(m, SCORE) for m in members], Given())
    model = base("ours")
    put(model, soup.tensors)
    for name, tensor in tensors_of(model).items():
        if tensor.is_floating_point():
            mean = torch.stack([tensors_of(m)[name] for m in members]).mean(0)
            torch.testing.assert_close(tensor, mean, rtol=0, atol=1e-6)


def test_models_of_other_starts_are_strangers() -> None:
    one = trained(1)
    other = replace(base("ours", seed=1), lineage=Lineage(start_of(base("ours", seed=1))))
    before = start_of(one), start_of(other)
    with pytest.raises(ValueError, match=r"UniformSoup mixes models of one lineage; candidate 1"):
        UniformSoup().merge([of_model(one, SCORE), of_model(other, SCORE)], Given())
    assert (start_of(one), start_of(other)) == before


def test_answers_have_a_gradient_to_the_tensors() -> None:
    model, seen = trained(1), batch()
    before = start_of(model)
    asked = answers_of(model, TASK)
    with torch.no_grad():
        expected = model.heads["task"](model.bodies["input"](seen.streams["input"]), seen)
    given_ = {
        n: t.clone().requires_grad_(t.is_floating_point())
        for n, t in tensors_of(trained(2)).items()
    }
    got = asked(tensors_of(model), seen)
    torch.testing.assert_close(got, expected)
    other = asked(given_, seen)
    assert not torch.allclose(other, expected)
    other.sum().backward()
    for place in ("heads.task.", "input.network.blocks.", "input.network.stem."):
        assert any(t.grad is not None and n.startswith(place) for n, t in given_.items())
    assert start_of(model) == before
    assert all(p.grad is None for p in model.bodies["input"].parameters())


def test_the_learned_soup_learns_of_whole_models() -> None:
    """Labels are what the second one answers; the loss on them falls."""
    members = [trained(i) for i in range(1, 4)]
    with torch.no_grad():
        for member in members:  # far enough apart to be told from each other
            member.heads["task"].load_state_dict(
                {n: 8 * t for n, t in member.heads["task"].state_dict().items()}
            )
    plain = batch()
    label = answers_of(members[1], TASK)(tensors_of(members[1]), plain).argmax(1)
    seen = Batch(plain.streams, {"label": label}, plain.rows)
    learning = Given(answers=answers_of(base("ours"), TASK), batches=lambda: iter([seen] * 5))
    candidates = [of_model(m, SCORE) for m in members]
    soup = LearnedSoup(by_tensor=False, epochs=8).merge(candidates, learning)
    first = LearnedSoup(by_tensor=False, epochs=0).merge(candidates, learning)
    loss = [
        float(nn.functional.cross_entropy(learning.answers(t.tensors, seen), label))
        for t in (first, soup)
    ]
    assert loss[1] < loss[0]


# Adapters


def low_rank(seed: int) -> tuple[Model, Any]:
    """LoRA on one base, its factors drawn from a seed."""
    model = base("bert")
    adapted = attach(LoRA(rank=2), model, given(seed))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.model.bodies["input"].parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model, adapted


def test_of_adapters_the_products_are_averaged_and_not_the_factors() -> None:
    pytest.importorskip("peft")
    adapted = [low_rank(seed)[1] for seed in (1, 2)]
    first = {n: p.detach().clone() for n, p in base_parameters(base("bert")).items()}
    deltas = [one.deltas() for one in adapted]
    alone = UniformSoup().merge([of_adapted(one, SCORE) for one in adapted], Given()).tensors
    whole = UniformSoup().merge([of_adapted(one, SCORE, first) for one in adapted], Given()).tensors
    assert alone.keys() == deltas[0].keys() and whole.keys() == first.keys()
    ranks = set()
    for name, delta in alone.items():
        mean = (deltas[0][name] + deltas[1][name]) / 2
        torch.testing.assert_close(delta, mean, rtol=0, atol=1e-6)
        torch.testing.assert_close(whole[name], first[name] + mean, rtol=1e-5, atol=1e-6)
        ranks.add(int(torch.linalg.matrix_rank(delta, atol=1e-4)))
    assert ranks == {4}, "two of rank 2; mean factors would give 2"
    for name in first.keys() - alone.keys():
        torch.testing.assert_close(whole[name], first[name], rtol=0, atol=1e-6)
    merged = [one.merge() for one in adapted]
    kin = [of_model(replace(m, lineage=Lineage("base")), SCORE) for m in merged]
    of_merged = UniformSoup().merge(kin, Given()).tensors
    for name in first:
        torch.testing.assert_close(whole[name], of_merged[name], rtol=1e-5, atol=1e-6)


def test_other_adapters_of_one_base_may_mix() -> None:
    pytest.importorskip("peft")
    first = {n: p.detach().clone() for n, p in base_parameters(base("bert")).items()}
    full = attach(FullTuning(), base("bert"), given())
    train(full.model)
    _, factored = low_rank(1)
    made = [of_adapted(full, SCORE, first), of_adapted(factored, SCORE, first)]
    assert made[0].lineage.family == made[1].lineage.family
    soup = UniformSoup().merge(made, Given()).tensors
    some = next(iter(factored.deltas()))
    mean = (full.deltas()[some] + factored.deltas()[some]) / 2
    torch.testing.assert_close(soup[some], first[some] + mean, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"mixes tensors of equal names"):
        UniformSoup().merge([of_adapted(full, SCORE), of_adapted(factored, SCORE)], Given())
    with pytest.raises(ValueError, match=r"every parameter that is edited; it has no "):
        of_adapted(full, SCORE, {})


def test_adapters_of_other_bases_are_strangers() -> None:
    one, two = base("ours"), base("ours", seed=1)
    made = [of_adapted(attach(FullTuning(), m, given()), SCORE) for m in (one, two)]
    with pytest.raises(ValueError, match=r"candidate 1 has another start"):
        GreedySoup().merge(made, Given())


def test_what_was_taken_stays_as_it_was() -> None:
    adapted = attach(FullTuning(), base("ours"), given())
    train(adapted.model)
    made = of_adapted(adapted, SCORE)
    before = {n: t.clone() for n, t in made.tensors().items()}
    train(adapted.model)
    assert all(torch.equal(t, before[n]) for n, t in made.tensors().items())


# Statistics of batches


def normed(seed: int) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
        network.train()(3 * torch.randn(50, 4) + 1)
    head = nn.Linear(3, 3)
    return Model({"input": Body(network.eval())}, {"task": head}, Lineage("start"))


def items(seed: int) -> list[Batch]:
    rng = torch.Generator().manual_seed(seed)
    return [
        Batch({"input": Stream(torch.randn(32, 4, generator=rng))}, {}, torch.arange(32))
        for _ in range(4)
    ]


def test_statistics_are_taken_anew_as_means_over_batches() -> None:
    model, seen = normed(0), items(1)
    body: Any = model.bodies["input"]
    norm = body.network[1]
    plain = start_of(base("ours"))
    still = base("ours")
    restate(still, seen)
    assert start_of(still) == plain, "a model without statistics is left alone"
    restate(model, seen)
    inside = [body.network[0](b.streams["input"].values) for b in seen]
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in inside]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in inside]).mean(0))
    assert norm.momentum == 0.1 and not norm.training and int(norm.num_batches_tracked) == 4


def test_a_judge_puts_tensors_in_and_measures() -> None:
    one, two = normed(1), normed(2)
    kept = {n: t.clone() for n, t in tensors_of(two).items()}

    def measured(model: Model) -> Measurement:
        body: Any = model.bodies["input"]
        return Measurement("mean", float(body.network[1].running_mean.sum()), "higher")

    plain = judge_of(one, measured)(kept)
    assert plain.value == pytest.approx(float(kept["input.network.1.running_mean"].sum()))
    anew = judge_of(one, measured, items(3))(kept)
    assert anew.value != plain.value
    weight: Tensor = tensors_of(one)["input.network.0.weight"]
    assert torch.equal(weight, kept["input.network.0.weight"])


def test_pairs_are_answered_by_both_texts() -> None:
    class Sum(nn.Module):
        def forward(self, outputs: Any, batch: Batch, other: Any) -> Tensor:
            return outputs.hidden + 2 * other.hidden

    body = Body(nn.Linear(2, 2))
    model = Model({"input": body}, {"task": Sum()}, Lineage("start"))
    x, y = torch.ones(1, 2), torch.zeros(1, 2)
    seen = Batch({"input": Stream(x), "text": Stream(y)}, {}, torch.arange(1))
    got = answers_of(model, Task("same", "pair", ("no", "yes")))(tensors_of(model), seen)
    torch.testing.assert_close(got, body.network(x) + 2 * body.network(y))
