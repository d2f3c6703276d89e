"""Thin twins: the nearest product of its rank, what stays, and what is saved."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import answers, base, given, train
from vitruvius.contracts import Given, Lineage, Model, base_parameters
from vitruvius.techniques.adapters import LowRankTwin
from vitruvius.techniques.layers.factored import (
    FactoredLinear,
    rank_of_energy,
    rank_of_ratio,
    split,
)
from vitruvius.train.adapting import attach


def weight(out: int, into: int) -> Tensor:
    return torch.randn(out, into, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rank", [1, 5, 24])
def test_the_error_is_what_is_left_of_the_spectrum(rank: int) -> None:
    whole = weight(24, 40)
    up, down = split(whole, rank)
    rest = torch.linalg.svdvals(whole)[rank:].square().sum().sqrt()
    torch.testing.assert_close((whole - up @ down).norm(), rest, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(up.norm(dim=0), down.norm(dim=1), rtol=1e-4, atol=1e-4)


def test_of_full_rank_it_is_the_map() -> None:
    linear, x = nn.Linear(40, 24), weight(7, 40)
    made = FactoredLinear(*split(linear.weight.detach(), 24), linear.bias.detach())
    torch.testing.assert_close(made(x), linear(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(nn.functional.linear(x, made.weight, made.bias), made(x))


@pytest.mark.parametrize("ratio", [1.2, 2.0, 3.0, 8.0])
@pytest.mark.parametrize(("out", "into"), [(64, 64), (128, 64), (48, 200)])
def test_the_product_holds_no_more_than_its_ratio(out: int, into: int, ratio: float) -> None:
    rank = rank_of_ratio(out, into, ratio)
    assert rank * (out + into) <= out * into / ratio < (rank + 1) * (out + into)


def test_the_rank_of_a_share_of_the_energy() -> None:
    whole = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    ranks = [rank_of_energy(whole, share) for share in (0.5, 9 / 14, 0.9, 13 / 14 + 1e-9, 1.0)]
    assert ranks == [1, 1, 2, 3, 3]


def test_what_is_saved_holds_the_products_alone() -> None:
    model = base("ours")
    names = dict(base_parameters(model))
    adapted = attach(LowRankTwin(2.0), model, given())
    thin = {n: m for n, m in model.bodies["input"].named_modules() if isinstance(m, FactoredLinear)}
    assert len(thin) == 12
    gone = {f"input.{path}.{own}" for path in thin for own in ("weight", "bias")}
    saved = adapted.save()[0].tensors
    kept = sum(names[n].numel() for n in names.keys() - gone)
    products = sum(p.numel() for part in thin.values() for p in part.parameters())
    assert sum(t.numel() for t in saved.values()) == kept + products == adapted.count
    for path, part in thin.items():
        whole = names[f"input.{path}.weight"]
        rank = part.down.out_features
        assert rank == rank_of_ratio(whole.shape[0], whole.shape[1], 2.0)
        assert sum(p.numel() for p in (part.up.weight, part.down.weight)) <= whole.numel() / 2
    assert not gone & saved.keys()


def test_without_the_rest_only_products_train() -> None:
    adapted = attach(LowRankTwin(rest=False), base("ours"), given())
    trained = {n for n, p in adapted.model.bodies["input"].named_parameters() if p.requires_grad}
    assert all(".up." in name or ".down." in name for name in trained)


def test_healed_factors_are_loaded_into_a_drawn_twin() -> None:
    healed = attach(LowRankTwin(), base("ours"), given())
    train(healed.model)
    drawn = attach(LowRankTwin(start="random"), base("ours"), given(1))
    assert not torch.equal(answers(drawn.model), answers(healed.model))
    body: Any = drawn.model.bodies["input"]
    body.load_state_dict(healed.model.bodies["input"].state_dict())
    assert torch.equal(answers(drawn.model), answers(healed.model))


def test_merged_and_taken_apart_again_it_is_the_same() -> None:
    healed = attach(LowRankTwin(4.0), base("ours"), given())
    train(healed.model)
    before = answers(healed.model)
    again = attach(LowRankTwin(4.0), healed.merge(), given())
    torch.testing.assert_close(answers(again.model), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "llama", "vit"])
def test_maps_outside_of_attention_and_feed_forward_stay(kind: str) -> None:
    model = base(kind)
    attach(LowRankTwin(), model, given())
    body = model.bodies["input"]
    thin = [path for path, part in body.named_modules() if isinstance(part, FactoredLinear)]
    assert thin and all("layer" in path for path in thin)


def test_thin_maps_and_those_that_would_not_shrink_stay() -> None:
    twin, asked = LowRankTwin(1.2), Given(rng=torch.Generator())
    assert twin.swap(nn.Linear(400, 9), asked) is None
    assert twin.swap(nn.Conv1d(8, 8, 1), asked) is None
    assert LowRankTwin(energy=1.0).swap(nn.Linear(20, 20), asked) is None
    made = LowRankTwin(8.0).swap(nn.Linear(10, 10, bias=False), asked)
    assert isinstance(made, FactoredLinear) and made.down.out_features == 1 and made.bias is None


def test_where_nothing_is_replaced_it_says_so() -> None:
    model = Model({"input": nn.Sequential(nn.Linear(20, 20))}, {}, Lineage("x"))
    with pytest.raises(ValueError, match=r"LowRankTwin replaces none of the 1 modules"):
        attach(LowRankTwin(), model, given())
    assert attach(LowRankTwin(skip=()), model, given()).count == 5 * 40 + 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ratio": 1.0}, r"LowRankTwin\.ratio must be above 1; got 1\.0\. .* take FullTuning"),
        ({"energy": 0.0}, r"LowRankTwin\.energy must be above 0 and at most 1; got 0\.0"),
        ({"start": "x"}, r"LowRankTwin\.start must be 'svd' or 'random'; got 'x'"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LowRankTwin(**fields)
