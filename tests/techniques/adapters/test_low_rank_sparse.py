"""Low rank with free entries: what the places are, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import base, given, train
from vitruvius.contracts import Model, Sites, base_parameters
from vitruvius.techniques.adapters import LowRankSparse
from vitruvius.techniques.adapters.low_rank_sparse import largest, sparse_part
from vitruvius.train.adapting import attach


def planted(seed: int) -> tuple[Tensor, set[int]]:
    """A matrix of rank 4 with 40 spikes of size 1 and a little noise, and where these are."""
    rng = torch.Generator().manual_seed(seed)
    low = torch.randn(64, 4, generator=rng) @ torch.randn(4, 64, generator=rng) / 8
    places = torch.randperm(64 * 64, generator=rng)[:40]
    spikes = torch.zeros(64 * 64)
    spikes[places] = torch.where(torch.rand(40, generator=rng) < 0.5, -1.0, 1.0)
    noise = 0.01 * torch.randn(64, 64, generator=rng)
    return low + spikes.view(64, 64) + noise, set(places.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_what_was_planted_is_found(seed: int) -> None:
    weight, places = planted(seed)
    found = largest(sparse_part(weight, torch.Generator().manual_seed(0)), 40)
    assert len(places & set(found.tolist())) >= 36
    much = largest(sparse_part(weight, torch.Generator().manual_seed(0), rounds=30), 40)
    assert len(places & set(much.tolist())) < 36, "a part of much rank takes up the spikes"


@pytest.mark.parametrize("support", ["robust_pca", "random", "largest"])
def test_beside_the_product_only_its_places_change(support: str) -> None:
    model, adapter = base("ours"), LowRankSparse(2, 16, support)
    adapted = attach(adapter, model, given())
    maps = 4
    assert adapted.count == maps * (2 * (64 + 64) + 16)
    train(adapted.model)
    body: Any = adapted.model.bodies["input"]
    made = body.adapter["0"]
    for path, t in made.alone().items():
        delta = adapted.deltas()[f"{path}.weight"]
        rest = (delta - 8.0 * t["b"] @ t["a"]).flatten().detach()
        far = torch.ones(64 * 64, dtype=torch.bool)
        far[t["places"]] = False
        assert int((~far).sum()) == 16
        assert rest[far].abs().max() < 1e-6
        torch.testing.assert_close(rest[~far], 8.0 * t["values"].detach(), rtol=1e-4, atol=1e-6)


def test_the_largest_are_those_of_the_base() -> None:
    model = base("ours")
    attach(LowRankSparse(2, 16, "largest"), model, given())
    body: Any = model.bodies["input"]
    for path, t in body.adapter["0"].alone().items():
        weight = base_parameters(model)[f"{path}.weight"].abs().flatten()
        assert weight[t["places"]].min() >= weight.sort().values[-16]


def test_the_seed_decides_what_is_drawn() -> None:
    def places(seed: int) -> Tensor:
        adapted = attach(LowRankSparse(2, 16, "random"), base("ours"), given(seed))
        saved = adapted.save()[0].tensors
        return next(t for name, t in saved.items() if name.endswith("places"))

    assert torch.equal(places(0), places(0)) and not torch.equal(places(0), places(1))


def test_the_pass_is_that_of_the_change() -> None:
    module, rng = nn.Linear(6, 8), torch.Generator().manual_seed(0)
    t = {
        "a": torch.randn(2, 6, generator=rng),
        "b": torch.randn(8, 2, generator=rng),
        "values": torch.randn(5, generator=rng),
        "places": torch.tensor([0, 7, 20, 30, 47]),
    }
    x, edit = torch.randn(3, 4, 6, generator=rng), LowRankSparse(2, 5)
    found = edit.forward(t, x, module)
    assert found is not None
    torch.testing.assert_close(found, x @ edit.delta(t, module.weight).T, rtol=1e-5, atol=1e-5)
    routed = {n: v if n == "places" else torch.stack((v, 2 * v, 3 * v)) for n, v in t.items()}
    by_row = edit.forward(routed, x, module)
    deltas = edit.delta(routed, module.weight)
    assert by_row is not None
    torch.testing.assert_close(by_row, x @ deltas.mT, rtol=1e-5, atol=1e-4)


def test_what_a_matrix_cannot_have_is_refused() -> None:
    model = Model({"input": nn.Sequential(nn.Linear(4, 3))}, {}, base("ours").lineage)
    everywhere = Sites(kinds=())
    for adapter, message in (
        (LowRankSparse(4, 1, sites=everywhere), r"LowRankSparse\.rank must be at most 3 for .*"),
        (LowRankSparse(1, 13, sites=everywhere), r"entries must be at most 12 .* 3 x 4; got 13"),
    ):
        with pytest.raises(ValueError, match=message):
            attach(adapter, model, given())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"LowRankSparse\.rank must be at least 1; got 0\."),
        ({"entries": 0}, r"LowRankSparse\.entries must be at least 1; got 0\. .* take LowRank"),
        ({"alpha": 0.0}, r"LowRankSparse\.alpha must be above 0; got 0\.0"),
        ({"support": "x"}, r"LowRankSparse\.support must be one of robust_pca, .* got 'x'"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LowRankSparse(**fields)
