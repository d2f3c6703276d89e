"""LoRA of peft: the formula, the counts, and what it refuses."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from tests.contracts.bases import BASES, answers, base, given, train
from vitruvius.contracts import Lineage, Model, Structure, base_parameters
from vitruvius.interop.peft import LoRA, Peft
from vitruvius.space import count, from_json, to_json
from vitruvius.train.adapting import attach

peft = pytest.importorskip("peft")
kinds = pytest.mark.parametrize("kind", BASES)


@kinds
@pytest.mark.parametrize("targets", ["attention", "layers"])
def test_the_change_is_the_product_scaled(kind: str, targets: str) -> None:
    model = base(kind)
    before = {n: p.detach().clone() for n, p in base_parameters(model).items()}
    adapter = LoRA(rank=2, alpha=6.0, targets=targets)
    paths = [one.site.path.removeprefix("input.") for one in adapter.targets_in(model)]
    adapted = attach(adapter, model, given())
    shapes = [before[f"input.{path}.weight"].shape for path in paths]
    assert adapted.count == sum(2 * (out + inside) for out, inside in shapes)
    train(adapted.model)
    tensors = {n.removeprefix("input."): t for n, t in adapted.save()[0].tensors.items()}
    deltas = adapted.deltas()
    assert deltas.keys() == {f"input.{path}.weight" for path in paths}
    plain = adapted.merge()
    after = base_parameters(plain)
    for path in paths:
        a, b = (tensors[f"{path}.lora_{side}.default.weight"] for side in "AB")
        torch.testing.assert_close(deltas[f"input.{path}.weight"], 3.0 * b @ a)
    assert after.keys() == before.keys()
    for n, parameter in after.items():
        change = deltas.get(n, torch.zeros(()))
        torch.testing.assert_close(parameter, before[n] + change, rtol=0, atol=1e-7)
        assert n in deltas or torch.equal(parameter, before[n])


@kinds
def test_it_is_what_peft_does_by_itself(kind: str) -> None:
    """peft's own get_peft_model on a copy with the same factors gives the same answers."""
    adapted = attach(LoRA(rank=2), base(kind), given())
    train(adapted.model)
    other = base(kind)
    body = other.bodies["input"]
    wanted = [one.site.path.removeprefix("input.") for one in LoRA().targets_in(other)]
    config = peft.LoraConfig(r=2, lora_alpha=16.0, target_modules=wanted)
    made: Any = peft.get_peft_model(body, config)
    inner = made.base_model.model
    tensors = {n.removeprefix("input."): t for n, t in adapted.save()[0].tensors.items()}
    assert {n for n, p in inner.named_parameters() if p.requires_grad} == tensors.keys()
    inner.load_state_dict(tensors, strict=False)
    assert torch.equal(answers(Model({"input": inner}, {}, other.lineage)), answers(adapted.model))


def test_the_seed_decides_the_factors() -> None:
    first, same, other = (
        attach(LoRA(), base("ours"), given(seed)).save()[0].tensors for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[n], same[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


def test_dropout_is_on_the_branch_alone() -> None:
    adapted = attach(LoRA(dropout=0.5), base("llama"), given())
    train(adapted.model)
    assert not torch.equal(answers(adapted.model), answers(adapted.model, train=True))
    with adapted.original():
        assert torch.equal(answers(adapted.model, train=True), answers(base("llama")))


def test_it_is_a_node_with_a_space() -> None:
    assert count(LoRA.space(alpha=16.0)).points == 6 * 2 * 2
    assert from_json(to_json(LoRA(4))) == eval(repr(LoRA(4))) == LoRA(4)
    assert not LoRA().parts() and issubclass(LoRA, Peft) and LoRA.libraries == ("peft",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"LoRA\.rank must be at least 1; got 0\. For no update, take LinearProbe"),
        ({"alpha": 0.0}, r"LoRA\.alpha must be above 0; got 0\.0\. For no update"),
        ({"dropout": 1.0}, r"LoRA\.dropout must be at least 0 and below 1; got 1\.0"),
        ({"targets": "q"}, r"LoRA\.targets must be 'attention' or 'layers'; got 'q'"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRA(**fields)


@kinds
def test_a_rank_larger_than_the_matrix_changes_nothing(kind: str) -> None:
    model = base(kind)
    with pytest.raises(ValueError, match=r"at most the smaller side .* got 65 for input\.network"):
        attach(LoRA(rank=65), model, given())
    body = model.bodies["input"]
    assert all(p.requires_grad for p in body.parameters()) and not hasattr(body, "peft_config")
    attach(LoRA(), model, given()).detach()


def test_a_body_without_its_targets_is_refused() -> None:
    model = Model({"input": torch.nn.Sequential(torch.nn.Linear(2, 2))}, {}, Lineage("x"))
    with pytest.raises(ValueError, match=r"LoRA found none of its targets in Sequential\. Take"):
        attach(LoRA(rank=1), model, given())
    assert attach(LoRA(rank=1, targets="layers"), model, given()).count == 4


def test_a_pruning_is_refused() -> None:
    adapted = attach(LoRA(), base("ours"), given())
    with pytest.raises(ValueError, match=r"LoRA of peft cannot follow a pruning.* merge\(\) first"):
        adapted.restrict(Structure(), base("ours"))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    model = base("ours")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"need the peft library: pip install 'vitruvius\[text\]'"):
        attach(LoRA(), model, given())
    assert all(p.requires_grad for p in model.bodies["input"].parameters())


def test_importing_the_wrapper_does_not_import_the_library() -> None:
    import subprocess

    code = "import sys, vitruvius.interop.peft; sys.exit('peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
