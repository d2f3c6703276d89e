"""DID and SAID: d numbers move all weights, and a file of them is small."""

import pytest
import torch
from torch import Tensor

from tests.contracts.bases import answers, base, given, train
from vitruvius.contracts import Adapter, base_parameters
from vitruvius.techniques.adapters import DID, SAID
from vitruvius.techniques.optimizers import AdamW
from vitruvius.train.adapting import attach

SIZES = (50, 200)
EVERY = [
    cls(d, scope=scope) for cls in (DID, SAID) for d in SIZES for scope in ("tensor", "global")
]
every = pytest.mark.parametrize("adapter", EVERY, ids=repr)


@every
def test_exactly_its_dimension_trains(adapter: DID | SAID) -> None:
    model = base("ours")
    before = answers(model)
    adapted = attach(adapter, model, given())
    assert adapted.count == adapter.dimension
    assert torch.equal(answers(adapted.model), before)
    train(adapted.model, AdamW(0.1), steps=1)
    assert not torch.equal(answers(adapted.model), before)
    deltas = adapted.deltas()
    assert deltas.keys() == base_parameters(base("ours")).keys()
    assert all(delta.any() for delta in deltas.values())


@every
def test_the_file_holds_its_numbers_and_the_seed(adapter: Adapter) -> None:
    adapted = attach(adapter, base("ours"), given())
    train(adapted.model, AdamW(0.1))
    saved, lineage = adapted.save()
    numbers = sum(t.numel() for t in saved.tensors.values())
    assert numbers == adapted.count + 2
    assert sum(t.nbytes for t in saved.tensors.values()) < 2_000
    other = attach(adapter, base("ours"), given())
    other.load(saved, lineage)
    assert torch.equal(answers(other.model), answers(adapted.model))
    stranger = attach(adapter, base("ours"), given(seed=1))
    with pytest.raises(ValueError, match=r"drawn is another, .* the generator that it had then"):
        stranger.load(saved, lineage)


@every
def test_merged_it_answers_the_same(adapter: Adapter) -> None:
    adapted = attach(adapter, base("ours"), given())
    train(adapted.model, AdamW(0.1))
    before = answers(adapted.model)
    torch.testing.assert_close(answers(adapted.merge()), before, rtol=1e-6, atol=1e-6)


def test_each_tensor_moves_about_as_far_as_the_vector() -> None:
    ratios: dict[str, list[Tensor]] = {}
    for seed in range(20):
        adapted = attach(DID(16), base("ours"), given(seed))
        theta = moved(adapted.model.bodies["input"], seed)
        for name, delta in adapted.deltas().items():
            ratios.setdefault(name, []).append((delta.norm() / theta.norm()).detach())
    for name, found in ratios.items():
        assert float(torch.stack(found).mean()) == pytest.approx(1, abs=0.15), name


def moved(body: torch.nn.Module, seed: int) -> Tensor:
    theta = next(p for n, p in body.named_parameters() if n.endswith("theta"))
    with torch.no_grad():
        theta.normal_(generator=torch.Generator().manual_seed(100 + seed))
    return theta


def test_scales_are_one_for_each_tensor_and_count() -> None:
    model = base("ours")
    tensors = len(base_parameters(model))
    adapted = attach(SAID(tensors + 7), model, given())
    sizes = {n.rpartition(".")[2]: p.numel() for n, p in model.bodies["input"].named_parameters()}
    assert (sizes["theta"], sizes["scales"]) == (7, tensors)
    adapted.detach()
    with pytest.raises(ValueError, match=rf"The {tensors} scales of tensors must be at most"):
        attach(SAID(tensors), model, given())
    assert torch.equal(answers(model), answers(base("ours")))


@pytest.mark.parametrize("cls", [DID, SAID])
def test_bad_fields_are_refused(cls: type[DID] | type[SAID]) -> None:
    with pytest.raises(ValueError, match=r"Projected\.dimension must be at least 1; got 0"):
        cls(0)
    with pytest.raises(ValueError, match=r"Projected\.projection is one of .*; got 'other'"):
        cls(projection="other")
