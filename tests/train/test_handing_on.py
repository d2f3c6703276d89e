"""Pretrained modules: what one adapter learned is where another starts, on the same base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.contracts.bases import answers, base, given, train
from vitruvius.contracts import Adapter, Fitted, base_parameters
from vitruvius.techniques.adapters import Bottleneck, LowRank, Prompts
from vitruvius.techniques.sources import Loaded
from vitruvius.train.adapting import attach, handed_on
from vitruvius.train.attached import base_digest
from vitruvius.train.checkpoint import load_tensors, save_tensors

MODULES = (Prompts(4), LowRank(2), Bottleneck(4))


@pytest.mark.parametrize("kind", ["ours", "bert"])
@pytest.mark.parametrize("adapter", MODULES, ids=repr)
def test_a_fresh_base_gives_the_same_features(kind: str, adapter: Adapter, tmp_path: Path) -> None:
    model = base(kind)
    first = base_digest(model)
    adapted = attach(adapter, model, given())
    train(adapted.model)
    saved, lineage = adapted.save()
    save_tensors(tmp_path / "module", saved.tensors, {})
    held = load_tensors(tmp_path / "module")[0]
    of_base = {tuple(p.shape) for p in base_parameters(base(kind)).values()}
    assert sum(t.numel() for t in held.values()) == adapted.count
    assert not {n for n in held if n in base_parameters(base(kind))} and of_base
    other = base(kind)
    fitted = handed_on(Fitted(held), lineage, other)
    again = attach(adapter.replace(source=Loaded("copy")), other, given(7).but(fitted=fitted))
    torch.testing.assert_close(answers(again.model), answers(adapted.model), rtol=0, atol=1e-6)
    before = answers(again.model)
    train(again.model)
    assert not torch.equal(answers(again.model), before), "it trains on"
    for one in (adapted, again):
        assert base_digest(one.detach()) == first


def test_zero_steps_of_pretraining_are_a_random_start() -> None:
    adapted = attach(Prompts(4), base("ours"), given())
    saved, lineage = adapted.save()
    other = base("ours")
    fitted = handed_on(saved, lineage, other)
    loaded = attach(Prompts(4, source=Loaded()), other, given(5).but(fitted=fitted))
    assert torch.equal(answers(loaded.model), answers(adapted.model))


@pytest.mark.parametrize("rule", ["copy", "tile", "mean"])
@pytest.mark.parametrize("length", [3, 9])
def test_prompts_of_another_length_come_by_rule(rule: str, length: int) -> None:
    adapted = attach(Prompts(4), base("ours"), given())
    train(adapted.model)
    saved, lineage = adapted.save()
    other = base("ours")
    asked = given(5).but(fitted=handed_on(saved, lineage, other))
    made = attach(Prompts(length, source=Loaded(rule)), other, asked).save()[0].tensors
    for name, tensor in made.items():
        was = saved.tensors[name]
        if rule == "mean":
            torch.testing.assert_close(tensor, was.mean(0).expand(length, -1))
        elif rule == "tile":
            assert torch.equal(tensor, was[torch.arange(length) % 4])
        else:
            assert torch.equal(tensor[: min(4, length)], was[:length])


def test_another_base_is_refused() -> None:
    saved, lineage = attach(Prompts(4), base("ours"), given()).save()
    with pytest.raises(ValueError, match=r"belongs to a base of digest .* Start from it on the"):
        handed_on(saved, lineage, base("ours", seed=1))
