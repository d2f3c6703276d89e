"""The grammar of adapters: exact counts, unchanged at the start, mergeable where it is linear."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch

from tests.contracts.bases import answers, base, given, train
from vitruvius.contracts import Adapter, Sites
from vitruvius.techniques.adapters import MAM, Bottleneck, Houlsby
from vitruvius.techniques.adapters.bottleneck import ACTIVATIONS, BOTH, COMPOSITIONS
from vitruvius.train.adapting import attach

L, D = 2, 64
QUERIES = Sites(places=("attention.query", "attention.value"))
ONE = 2 * D * 8 + 8 + D


@pytest.mark.parametrize("kind", ["ours", "bert"])
@pytest.mark.parametrize(
    ("adapter", "count"),
    [
        (Bottleneck(8), L * ONE),
        (Bottleneck(8, composition="add"), L * ONE),
        (Bottleneck(8, composition="learned"), L * (ONE + 1)),
        (Bottleneck(8, composition="gated", sites=BOTH), 2 * L * (ONE + 1)),
        (Bottleneck(8, activation="identity"), L * 2 * D * 8),
        (Houlsby(8), 2 * L * ONE),
        (MAM(4, 8), L * (2 * 4 * D + ONE)),
    ],
    ids=repr,
)
def test_numbers_are_counted_exactly(kind: str, adapter: Adapter, count: int) -> None:
    assert attach(adapter, base(kind), given()).count == count


@pytest.mark.parametrize("kind", ["ours", "bert"])
@pytest.mark.parametrize(("order", "composition"), [*product(("parallel", "serial"), COMPOSITIONS)])
def test_every_composition_starts_as_the_base(kind: str, order: str, composition: str) -> None:
    model = base(kind)
    before = answers(model)
    adapter = Bottleneck(8, order, composition, sites=BOTH)
    adapted = attach(adapter, model, given())
    assert adapter.identity and torch.equal(answers(adapted.model), before)
    train(adapted.model, steps=2)
    assert not torch.equal(answers(adapted.model), before)


def test_a_map_back_that_is_drawn_changes_the_base() -> None:
    model = base("ours")
    before = answers(model)
    adapter = Bottleneck(8, up="normal")
    attach(adapter, model, given())
    assert not adapter.identity and not torch.equal(answers(model), before)


@pytest.mark.parametrize("kind", ["ours", "bert", "llama"])
@pytest.mark.parametrize("composition", ["add", "scaled", "learned"])
def test_the_linear_form_merges(kind: str, composition: str) -> None:
    model = base(kind)
    adapter = Bottleneck(4, composition=composition, activation="identity", sites=QUERIES)
    adapted = attach(adapter, model, given())
    train(adapted.model)
    before = answers(adapted.model)
    assert any(delta.any() for delta in adapted.deltas().values())
    assert (answers(adapted.merge()) - before).abs().max() < 1e-5


@pytest.mark.parametrize(
    "adapter",
    [
        *(Bottleneck(activation=a, sites=QUERIES) for a in ACTIVATIONS if a != "identity"),
        Bottleneck(activation="identity"),
        Bottleneck(order="serial", activation="identity", sites=QUERIES),
        Bottleneck(composition="gated", activation="identity", sites=QUERIES),
        MAM(),
    ],
    ids=repr,
)
def test_other_forms_refuse_to_merge(adapter: Adapter) -> None:
    with pytest.raises(ValueError, match=r"cannot be merged: .* Keep the adapter beside its base"):
        attach(adapter, base("ours"), given()).merge()


def test_in_series_it_reads_what_the_part_gives() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, 5, generator=rng), torch.randn(2, 3, 6, generator=rng)
    t = {
        "up": torch.randn(6, 4, generator=rng),
        "down_bias": torch.randn(4, generator=rng),
        "up_bias": torch.randn(6, generator=rng),
    }
    layout = base_layout()
    for order, read in (("parallel", x), ("serial", y)):
        down = torch.randn(4, read.shape[-1], generator=rng)
        made, carried = Bottleneck(4, order, scale=2.0).forward(
            {**t, "down": down}, x, y, layout, None
        )
        inner = (read @ down.T + t["down_bias"]).relu()
        torch.testing.assert_close(made, y + 2 * (inner @ t["up"].T + t["up_bias"]))
        assert carried is None


def test_a_gate_stands_between_both() -> None:
    y = torch.ones(1, 2, 3)
    t = {"down": torch.eye(3), "up": 5 * torch.eye(3), "gate": torch.tensor([0.5]).atanh()}
    adapter = Bottleneck(3, composition="gated", activation="identity")
    made, _ = adapter.forward(t, y, y, base_layout(), None)
    torch.testing.assert_close(made, 0.5 * y + 0.5 * 5 * y)


def base_layout():
    from tests.contracts.layouts import layout_of

    return layout_of([[3], [2]])


def test_presets_are_points_of_the_grammar() -> None:
    (part,) = Houlsby(4).parts()
    assert part.edit == Bottleneck(4, "serial", "add", activation="gelu", sites=BOTH)
    prefix, beside = MAM(2, 4, 1.5).parts()
    assert type(prefix.edit).__name__ == "Prefix" and beside.edit == Bottleneck(4, scale=1.5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 0, r"Bottleneck\.width must be at least 1; got 0\. .*LinearProbe"),
        ("scale", 0.0, r"Bottleneck\.scale must be above 0; got 0\.0\."),
        ("order", "before", r"Bottleneck\.order must be one of parallel, serial; got 'before'\."),
        ("composition", "max", r"Bottleneck\.composition must be one of add, .*; got 'max'\."),
        ("activation", "softmax", r"Bottleneck\.activation must be one of relu, .* got 'softmax'"),
        ("up", "one", r"Bottleneck\.up must be one of zero, normal; got 'one'\."),
    ],
)
def test_what_it_refuses(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Bottleneck(), **{field: value})
    if field in ("width", "activation"):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(Houlsby(), **{field: value})
