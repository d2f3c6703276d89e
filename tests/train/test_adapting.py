"""Masks that hold under any optimizer, what is saved, pruned bases, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import answers, base, batch, given, train
from tests.contracts.common import example, name
from vitruvius.catalogue import catalogue
from vitruvius.contracts import (
    Adapter,
    Choose,
    Fitted,
    Given,
    Lineage,
    Model,
    Optimizer,
    Part,
    Site,
    Sites,
    Structure,
    Tensors,
    Wants,
    WeightDelta,
    base_parameters,
    whole,
)
from vitruvius.space import hyper
from vitruvius.techniques.adapters import BitFit, FullTuning, LinearProbe
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.train.adapting import attach
from vitruvius.train.grouping import group_parameters

TABLE = "input.network.stem.table.weight"
QUERY = "input.network.blocks.0.mixer.query.weight"
BIAS = "input.network.blocks.0.mixer.query.bias"
NORM = "input.network.norm.weight"
STEM_NORM = "input.network.stem.norm.weight"
OPTIMIZERS = catalogue(Optimizer)


@dataclass(frozen=True)
class Scattered(Choose):
    """Entries drawn one by one, of a few tensors; all of one, none of another."""

    share: float = hyper(0.5)

    def choose(self, model: Model, given: Given) -> Tensors:
        found = base_parameters(model)
        drawn = {
            n: torch.rand(found[n].shape, generator=given.rng) < self.share
            for n in (TABLE, QUERY, BIAS)
        }
        return {**drawn, NORM: whole(found[NORM]), STEM_NORM: ~whole(found[STEM_NORM])}


@dataclass(frozen=True)
class Fixed(Choose):
    """What a test says, under the fact that it says."""

    says: ClassVar[Mapping[str, Tensor]] = {}

    def choose(self, model: Model, given: Given) -> Tensors:
        return dict(self.says)


def now(model: Model) -> dict[str, Tensor]:
    """The weights in use, parametrised or not, by the names of the base."""
    names = base_parameters(base("ours"))
    found = {}
    for path in names:
        part, _, own = path.removeprefix("input.").rpartition(".")
        found[path] = getattr(model.bodies["input"].get_submodule(part), own).detach().clone()
    return found


@pytest.mark.parametrize("cls", OPTIMIZERS, ids=name)
def test_what_a_mask_leaves_out_never_moves(cls: type[Optimizer]) -> None:
    model = base("ours")
    before = now(model)
    masks = Scattered().choose(model, given())
    adapted = attach(Scattered(), model, given())
    assert adapted.count == sum(int(mask.sum()) for mask in masks.values())
    optimizer = example(cls).replace(weight_decay=0.5, learning_rate=0.05)
    for _ in range(2):
        train(adapted.model, optimizer, steps=3)
    after = now(adapted.model)
    for path, tensor in before.items():
        mask = masks.get(path, torch.zeros_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor[~mask], after[path][~mask])
        assert (tensor[mask] != after[path][mask]).float().mean() > 0.9 or not mask.any()
    deltas = adapted.deltas()
    merged = adapted.merge()
    for path, parameter in base_parameters(merged).items():
        assert torch.equal(parameter, after[path])
        if path in deltas:
            torch.testing.assert_close(before[path] + deltas[path], after[path])


@pytest.mark.parametrize(
    "optimizer", [AdamW(0.01, 0.3), SGD(0.1, weight_decay=0.1)], ids=lambda o: type(o).__name__
)
def test_what_it_lets_through_moves_as_in_full_tuning(optimizer: Optimizer) -> None:
    masks = Scattered().choose(base("ours"), given())
    model = base("ours")
    adapted = attach(Scattered(), model, given())
    train(adapted.model, optimizer, steps=4)
    by_hand = base("ours")
    parameters = base_parameters(by_hand)
    start = now(by_hand)
    network = nn.ModuleDict({"body": by_hand.bodies["input"], "head": by_hand.heads["task"]})
    updater = optimizer.build(group_parameters(network))
    seen = batch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network.train()
        for _ in range(4):
            updater.zero_grad()
            outputs = by_hand.bodies["input"](seen.streams["input"])
            answer = by_hand.heads["task"](outputs, seen)
            nn.functional.cross_entropy(answer, seen.fields["label"]).backward()
            updater.step()
            with torch.no_grad():
                for path, parameter in parameters.items():
                    stays = ~masks[path] if path in masks else torch.ones_like(parameter) > 0
                    parameter[stays] = start[path][stays]
    torch.testing.assert_close(now(adapted.model), now(by_hand), rtol=1e-5, atol=1e-6)


def test_partial_masks_keep_state_for_what_trains_alone() -> None:
    model = base("ours")
    adapted = attach(Scattered(0.1), model, given())
    groups = group_parameters(model.bodies["input"])
    sizes = {n: p.numel() for g in groups for n, p in zip(g.names, g.parameters, strict=True)}
    assert sum(sizes.values()) == adapted.count
    assert len(sizes) == 4
    decays = {n: g.decay for g in groups for n in g.names}
    assert [decay for n, decay in decays.items() if "query/weight" in n] == [True]
    assert [decay for n, decay in decays.items() if "query/bias" in n] == [False]


def test_a_partial_mask_is_saved_with_its_places_and_undone_whole() -> None:
    model = base("ours")
    body = model.bodies["input"]
    order = [n for n, _ in body.named_parameters()]
    classes = [type(part) for part in body.modules()]
    before = now(model)
    adapted = attach(Scattered(), model, given())
    train(adapted.model)
    saved, trained = adapted.save(), now(model)
    assert saved[0].tensors.keys() >= {f"{QUERY}.values", f"{QUERY}.places", NORM}
    with adapted.original():
        assert all(torch.equal(t, before[n]) for n, t in now(model).items())
    assert all(torch.equal(t, trained[n]) for n, t in now(model).items())
    adapted.detach()
    assert [n for n, _ in body.named_parameters()] == order
    assert [type(part) for part in body.modules()] == classes
    assert all(torch.equal(t, before[n]) for n, t in now(model).items())
    again = attach(Scattered(), model, given())
    again.load(*saved)
    assert all(torch.equal(t, trained[n]) for n, t in now(model).items())
    again.detach()
    other = attach(Scattered(), model, given(seed=1))
    with pytest.raises(ValueError, match=r"must hold what trains here; .*Attach .* generator"):
        other.load(*saved)


def test_what_is_saved_fits_its_adapter_alone() -> None:
    adapted = attach(FullTuning(), base("ours"), given())
    saved, lineage = attach(BitFit(), base("ours"), given()).save()
    with pytest.raises(ValueError, match=r"is of .*BitFit.*; attached is FullTuning\(\)\. Attach"):
        adapted.load(saved, lineage)
    fitted, lineage = adapted.save()
    fewer = Fitted({n: t for n, t in fitted.tensors.items() if n != NORM}, fitted.values)
    with pytest.raises(ValueError, match=rf"must hold what trains here; {NORM} is another"):
        adapted.load(fewer, lineage)


def test_a_backward_pass_does_not_mind_a_look_at_the_base() -> None:
    gradients = []
    for look in (False, True):
        model = base("ours")
        adapted = attach(FullTuning(), model, given())
        train(adapted.model)
        adapted.model.bodies["input"].eval()
        hidden = adapted.model.bodies["input"](batch().streams["input"]).hidden
        if look:
            with adapted.original():
                answers(adapted.model)
        hidden.square().sum().backward()
        gradients.append({n: p.grad for n, p in base_parameters(model).items()})
    for n, gradient in gradients[0].items():
        other = gradients[1][n]
        assert gradient is not None and other is not None and torch.equal(gradient, other)


def test_tied_weights_train_in_all_places() -> None:
    model = base("ours")
    table: Any = model.bodies["input"].get_submodule("network.stem.table")
    head = nn.Linear(64, 32)
    head.weight = table.weight
    tied = Model(model.bodies, {**model.heads, "mlm": head}, model.lineage)
    before = table.weight.detach().clone()
    adapted = attach(Scattered(), tied, given())
    with torch.no_grad():
        for parameter in model.bodies["input"].parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert torch.equal(head.weight, table.weight) and not torch.equal(head.weight, before)
    adapted.merge()
    assert head.weight is table.weight and not torch.equal(table.weight, before)
    assert [n for n, _ in head.named_parameters()] == ["weight", "bias"]


def test_parts_choose_together() -> None:
    @dataclass(frozen=True)
    class Both(Adapter):
        def parts(self) -> tuple[Part, ...]:
            return (*BitFit().parts(), *Scattered().parts())

    adapted = attach(Both(), base("ours"), given())
    masks = Scattered().choose(base("ours"), given())
    biases = BitFit().choose(base("ours"), given())
    both = {n: masks.get(n, False) | biases.get(n, torch.tensor(False)) for n in {*masks, *biases}}
    assert adapted.count == sum(int(mask.sum()) for mask in both.values())
    assert BIAS in biases and bool(both[BIAS].all())


def test_after_pruning_it_goes_on_with_what_is_left() -> None:
    adapted = attach(Scattered(), base("ours"), given())
    train(adapted.model)
    before, masks = now(adapted.model), Scattered().choose(base("ours"), given())
    stays = torch.rand(before[QUERY].shape, generator=torch.Generator().manual_seed(3)) < 0.5
    rows = torch.tensor([1, 2, 5, 9])
    pruned = base("ours")
    with torch.no_grad():
        base_parameters(pruned)[QUERY].mul_(stays)
        table: Any = pruned.bodies["input"].get_submodule("network.stem.table")
        table.weight = nn.Parameter(table.weight[rows].clone())
    structure = Structure(masks={QUERY: stays}, kept={TABLE: rows})
    less = adapted.restrict(structure, pruned)
    after = now(less.model)
    assert not after[QUERY][~stays].any()
    left = masks[QUERY] & stays
    assert torch.equal(after[QUERY][left], before[QUERY][left])
    assert torch.equal(after[TABLE], before[TABLE][rows])
    assert torch.equal(after[NORM], before[NORM])
    assert less.count == sum(
        int(mask.sum()) for mask in (left, masks[TABLE][rows], masks[BIAS], whole(before[NORM]))
    )
    with pytest.raises(ValueError, match=rf"{TABLE} must be \[4, 64\] after .* got \[32, 64\]"):
        adapted.restrict(structure, base("ours"))


def test_a_probe_follows_a_pruning_too() -> None:
    adapted = attach(LinearProbe(), base("ours"), given())
    assert adapted.restrict(Structure(), base("ours")).count == 0


@dataclass(frozen=True)
class Shifted(WeightDelta):
    def wants(self, site: Site) -> Wants:
        return {}

    def parts(self) -> tuple[Part, ...]:
        return (Part(Sites(), self),)

    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        return weight


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"input.nowhere": torch.ones(2) > 0}, r"Fixed\.choose names input\.nowhere, .* Take"),
        ({NORM: torch.ones(64)}, r"must give bools of \[64\] for .*; got torch\.float32 of \[64\]"),
        ({NORM: torch.ones(1) > 0}, r"must give bools of \[64\] for .*; got torch\.bool of \[1\]"),
        ({NORM: torch.zeros(64) > 0}, r"Fixed found nothing to train .* Take another adapter"),
    ],
)
def test_masks_that_do_not_fit_change_nothing(
    says: Mapping[str, Tensor], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fixed, "says", says)
    model = base("ours")
    with pytest.raises(ValueError, match=message):
        attach(Fixed(), model, given())
    assert all(p.requires_grad for p in model.bodies["input"].parameters())
    attach(FullTuning(), model, given()).merge()


def test_a_frozen_one_that_chooses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fixed, "frozen", True)
    monkeypatch.setattr(Fixed, "says", {NORM: torch.ones(64) > 0})
    with pytest.raises(ValueError, match=rf"Fixed says that it is frozen and chose {NORM}"):
        attach(Fixed(), base("ours"), given())


def test_parts_that_cannot_be_carried_out_are_refused() -> None:
    model = base("ours")
    with pytest.raises(ValueError, match=r"Shifted can act on none of the 12 sites .* Give it"):
        attach(Shifted(), model, given())

    @dataclass(frozen=True)
    class Some(Adapter):
        def parts(self) -> tuple[Part, ...]:
            return (Part(Sites(depths=(1.0,)), BitFit()),)

    with pytest.raises(ValueError, match=r"BitFit chooses .* part of Some it is given some sites"):
        attach(Some(), model, given())


def test_lineage_names_the_base_beneath() -> None:
    model = base("ours")
    model = Model(model.bodies, model.heads, Lineage("a", base="b", stages=("c",)))
    adapted = attach(BitFit(), model, given())
    _, lineage = adapted.save()
    assert (lineage.initial, lineage.stages) == ("a", ("c",))
    assert lineage.base is not None and len(lineage.base) == 64
    train(adapted.model)
    assert adapted.save()[1] == lineage


def test_groups_of_what_trains_are_those_of_the_base() -> None:
    model = base("ours")
    before = {n: g for g in group_parameters(model.bodies["input"]) for n in g.names}
    attach(FullTuning(), model, given())
    after = {n: g for g in group_parameters(model.bodies["input"]) for n in g.names}
    assert after.keys() == before.keys()
    assert all((after[n].kind, after[n].decay) == (g.kind, g.decay) for n, g in before.items())
