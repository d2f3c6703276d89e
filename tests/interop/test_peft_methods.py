"""More methods of peft: what each trains, by its own formula, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.bases import base, given, train
from vitruvius.contracts import Lineage, Model, Sites
from vitruvius.interop.peft import Peft
from vitruvius.interop.peft_methods import (
    HRA,
    IA3,
    METHODS,
    OFT,
    AdaLoRA,
    DoRA,
    FourierFT,
    LoHa,
    LoKr,
    VeRA,
)
from vitruvius.space import from_json, to_json
from vitruvius.train.adapting import attach

pytest.importorskip("peft")
D, MAPS = 64, 4  # two layers with a query and a value
COUNTS: list[tuple[Peft, int]] = [
    (DoRA(2), MAPS * (2 * 2 * D + D)),
    (AdaLoRA(2), MAPS * 2 * (2 * D + 1)),
    (IA3(), 2 * MAPS * D),
    (LoHa(2), MAPS * 2 * 2 * 2 * D),
    (LoKr(2), MAPS * (8 * 8 + 2 * (8 + 8))),
    (VeRA(16), MAPS * (16 + D)),
    (OFT(8), MAPS * D * 7 // 2),
    (HRA(4), MAPS * 4 * D),
    (FourierFT(50), MAPS * 50),
]


@pytest.mark.parametrize(("adapter", "count"), COUNTS, ids=lambda x: type(x).__name__)
def test_numbers_are_those_of_the_paper(adapter: Peft, count: int) -> None:
    assert attach(adapter, base("ours"), given()).count == count


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_only_maps_at_its_sites_change(cls: type[Peft]) -> None:
    made: Any = cls
    sites = Sites(places=("ffn.down",), depths=(1.0,))
    adapted = attach(made(sites=sites), base("ours"), given())
    train(adapted.model)
    changed = {name for name, delta in adapted.deltas().items() if delta.any()}
    path = "input.network.blocks.1.feed_forward.down"
    bias = {f"{path}.bias"} if cls is IA3 else set()
    assert changed - {n for n in changed if n.endswith("down.weight")} == bias
    assert len(changed) == 1 + len(bias)
    assert from_json(to_json(made(sites=sites))) == made(sites=sites)


def test_norms_of_dora_are_those_it_trains() -> None:
    adapted = attach(DoRA(2), base("ours"), given())
    train(adapted.model)
    tensors = adapted.save()[0].tensors
    plain = adapted.merge()
    found = {n: t for n, t in tensors.items() if "magnitude" in n}
    assert len(found) == MAPS
    for name, magnitude in found.items():
        path = name.split(".lora_magnitude")[0]
        weight = dict(plain.bodies["input"].named_parameters())[
            path.removeprefix("input.") + ".weight"
        ]
        torch.testing.assert_close(weight.norm(dim=1), magnitude, rtol=1e-4, atol=1e-5)


def test_rotations_keep_the_norms_of_outputs() -> None:
    for adapter in (HRA(4), OFT(8)):
        before = {n: p.detach().clone() for n, p in base("ours").bodies["input"].named_parameters()}
        adapted = attach(adapter, base("ours"), given())
        train(adapted.model)
        changed = [n.removeprefix("input.") for n, d in adapted.deltas().items() if d.any()]
        after = dict(adapted.merge().bodies["input"].named_parameters())
        assert len(changed) == MAPS
        for name in changed:
            torch.testing.assert_close(
                after[name].norm(dim=1), before[name].norm(dim=1), rtol=1e-3, atol=1e-4
            )


@pytest.mark.parametrize("made", [DoRA(65), AdaLoRA(65), LoHa(65), LoKr(65), HRA(66)], ids=repr)
def test_a_rank_larger_than_the_matrix_is_refused(made: Peft) -> None:
    model = base("ours")
    with pytest.raises(ValueError, match=rf"{type(made).__name__}\.rank must be at most the small"):
        attach(made, model, given())
    assert all(p.requires_grad for p in model.bodies["input"].parameters())


def test_what_does_not_divide_or_is_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match=r"OFT\.block must divide the inputs .* got 7 for input\."):
        attach(OFT(7), base("ours"), given())
    with pytest.raises(ValueError, match=r"frequencies must be at most 4096 for input\..*got 5000"):
        attach(FourierFT(5000), base("ours"), given())
    with pytest.raises(ValueError, match=r"HRA\.rank must be even; got 3\. Take 4"):
        HRA(3)


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_fields_must_be_above_zero(cls: type[Peft]) -> None:
    made: Any = cls
    for name in {
        "rank",
        "alpha",
        "block",
        "frequencies",
        "scale",
    } & cls.__dataclass_fields__.keys():
        with pytest.raises(ValueError, match=rf"{cls.__name__}\.{name} must be above 0; got 0"):
            made(**{name: 0})


def test_a_body_without_linear_maps_is_refused() -> None:
    model = Model({"input": nn.Sequential(nn.Conv1d(2, 2, 1))}, {}, Lineage("x"))
    with pytest.raises(ValueError, match=r"IA3 found none of its targets in Sequential\. Take"):
        attach(IA3(), model, given())
