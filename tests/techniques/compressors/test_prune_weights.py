"""Weights that become zero: exactly so many, and zero they stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contracts.bases import answers, base, given, train
from vitruvius.contracts import Adapter, Lineage, Model, Optimizer, base_parameters
from vitruvius.techniques.adapters import FullTuning, LowRank, LowRankSparse
from vitruvius.techniques.compressors import PruneWeights
from vitruvius.techniques.compressors.prune_weights import linear_weights
from vitruvius.techniques.optimizers import SGD, SOAP, AdamW, Muon
from vitruvius.train.adapting import attach


@pytest.mark.parametrize("kind", ["ours", "bert", "llama"])
@pytest.mark.parametrize("rule", ["weight", "random"])
def test_the_sparsity_is_met_exactly(kind: str, rule: str) -> None:
    model = base(kind)
    before = answers(model)
    made = PruneWeights(0.3, rule).compress(model, given())
    assert torch.equal(answers(model), before), "the one given stays as it is"
    masks = made.structure.masks
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.3 * total)
    for name, parameter in base_parameters(made.model).items():
        first = base_parameters(model)[name]
        mask = masks.get(name, torch.ones((), dtype=torch.bool))
        assert torch.equal(parameter, first * mask)
    assert masks.keys() == linear_weights(model).keys()


def test_the_smallest_of_the_whole_model_go() -> None:
    model = base("ours")
    masks = PruneWeights(0.5).compress(model, given()).structure.masks
    weights = linear_weights(model)
    gone = torch.cat([weights[name].detach()[~mask].abs() for name, mask in masks.items()])
    stay = torch.cat([weights[name].detach()[mask].abs() for name, mask in masks.items()])
    assert gone.max() <= stay.min()


@pytest.mark.parametrize(
    "optimizer", [AdamW(0.01, 0.1), SGD(0.1), Muon(), SOAP()], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize("adapter", [FullTuning(), LowRank(4), LowRankSparse(4)], ids=repr)
def test_what_is_zero_stays_zero(adapter: Adapter, optimizer: Optimizer) -> None:
    adapted = attach(adapter, base("ours"), given())
    train(adapted.model)
    asked = given().but(adapted=adapted)
    made = PruneWeights(0.5, "both").compress(base("ours"), asked)
    less = adapted.restrict(made.structure, made.model)
    before = answers(less.model)
    train(less.model, optimizer, steps=4)
    assert not torch.equal(answers(less.model), before)
    after = answers(less.model)
    plain = less.merge()
    torch.testing.assert_close(answers(plain), after, rtol=1e-5, atol=1e-5)
    for name, mask in made.structure.masks.items():
        assert not base_parameters(plain)[name][~mask].any()


def test_by_the_change_what_a_task_needs_stays() -> None:
    adapted = attach(LowRank(4), base("ours"), given())
    train(adapted.model)
    deltas = adapted.deltas()
    made = PruneWeights(0.9, "change").compress(base("ours"), given().but(adapted=adapted))
    kept = {name for name, mask in made.structure.masks.items() if bool(mask.any())}
    assert kept & deltas.keys() == deltas.keys()


def test_a_model_without_linear_maps_is_refused() -> None:
    model = Model({"input": torch.nn.Conv1d(2, 2, 1)}, {}, Lineage("x"))
    with pytest.raises(ValueError, match=r"PruneWeights prunes linear maps, and no body here"):
        PruneWeights().compress(model, given())


def test_another_source_cannot_follow() -> None:
    adapted: Any = attach(LowRank(4), base("ours"), given())
    made = PruneWeights().compress(base("ours"), given())
    carrier = adapted._carriers[0]
    carrier.made.source = torch.nn.Identity()
    with pytest.raises(
        ValueError, match=r"follows a pruning where its tensors train by themselves"
    ):
        adapted.restrict(made.structure, made.model)


def test_the_structure_must_be_of_the_model() -> None:
    from vitruvius.techniques.compressors import PruneHeads

    adapted = attach(LowRank(4), base("ours"), given())
    made = PruneHeads(0.5, "weight").compress(base("ours"), given())
    with pytest.raises(ValueError, match=r"must be \[32, 64\] after this pruning; got \[64, 64\]"):
        adapted.restrict(made.structure, base("ours"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 1.0}, r"PruneWeights\.share must be above 0 and below 1; got 1\.0"),
        ({"importance": "x"}, r"PruneWeights\.importance must be one of weight, .* got 'x'"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneWeights(**fields)
