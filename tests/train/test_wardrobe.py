"""Several adapters on one base: changed without a copy, each as if alone, refused where unfit."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.bases import answers, base, batch, given, train
from vitruvius.contracts import Adapter
from vitruvius.techniques.adapters import BitFit, Bottleneck, FullTuning, LowRank, Prefix
from vitruvius.train.adapter_costs import costs_of
from vitruvius.train.adapting import attach
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.wardrobe import Wardrobe

ADAPTERS: dict[str, Adapter] = {
    "laws": LowRank(),
    "genes": Bottleneck(),
    "code": Prefix(),
    "news": BitFit(),
    "all": FullTuning(),
}


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_each_is_as_if_it_were_alone(kind: str) -> None:
    model = base(kind)
    plain, digest = answers(model), digest_of(model.bodies["input"].state_dict())
    found, alone = Wardrobe(model), {}
    for name, adapter in ADAPTERS.items():
        found.hang(name, adapter, given())
        assert found.worn == name
        model.heads["task"].load_state_dict(base(kind).heads["task"].state_dict())
        train(model)
        other = attach(adapter, base(kind), given())
        train(other.model)
        alone[name] = answers(other.model)
    for name in [*ADAPTERS, *reversed(ADAPTERS)]:
        assert torch.equal(answers(found.wear(name)), alone[name])
    assert torch.equal(answers(found.wear(None)), plain)
    assert digest_of(model.bodies["input"].state_dict()) == digest
    found.wear("genes")
    found.drop("laws")
    assert found.worn == "genes" and set(found) == set(ADAPTERS) - {"laws"} and len(found) == 4
    assert torch.equal(answers(model), alone["genes"])


def test_what_was_saved_is_hung_up_again() -> None:
    first = attach(LowRank(), base("ours"), given())
    train(first.model)
    found = Wardrobe(base("ours"))
    found.hang("other", Bottleneck(), given())
    found.hang("laws", LowRank(), given(), first.save())
    assert torch.equal(answers(found.model), answers(first.model))


def test_what_does_not_fit_changes_nothing() -> None:
    stranger = attach(LowRank(), base("ours", seed=1), given())
    found = Wardrobe(base("ours"))
    found.hang("laws", LowRank(), given())
    train(found.model)
    now = answers(found.model)
    with pytest.raises(ValueError, match=r"belongs to a base of digest .* Load it into the model"):
        found.hang("other", LowRank(), given(), stranger.save())
    with pytest.raises(ValueError, match=r"LowRank\.rank must be at most the smaller side"):
        found.hang("wide", LowRank(rank=100), given())
    with pytest.raises(ValueError, match=r"There is an adapter 'laws' already\. Choose another"):
        found.hang("laws", Prefix(), given())
    with pytest.raises(ValueError, match=r"There is no adapter 'cod'; there is laws\."):
        found.wear("cod")
    assert found.worn == "laws" and torch.equal(answers(found.model), now)
    off = found["laws"]
    found.wear(None)
    with pytest.raises(ValueError, match=r"LowRank is taken off its base\. Call put_on\(\) first"):
        off.save()
    off.put_on()
    with pytest.raises(ValueError, match=r"LowRank is on already"):
        off.put_on()


def test_costs_are_those_of_a_step() -> None:
    stream = batch().streams["input"]
    low = costs_of(attach(LowRank(rank=4), base("ours"), given()), stream)
    whole = costs_of(attach(FullTuning(), base("ours"), given()), stream)
    tokens = stream.values.numel()
    assert low.numbers == 2 * 2 * 4 * (64 + 64)
    assert low.flops - low.base_flops == 2 * 2 * (2 * 4 * (64 + 64)) * tokens
    assert whole.flops == whole.base_flops == low.base_flops
    assert 0 < low.saved_bytes < whole.saved_bytes
