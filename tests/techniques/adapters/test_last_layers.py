"""The last layers: which these are, by structure, and that nothing before them is computed."""

from __future__ import annotations

import pytest
from torch import nn

from tests.contracts.bases import base, batch, given
from vitruvius.contracts import Lineage, Model, base_parameters
from vitruvius.techniques.adapters import LastLayers
from vitruvius.techniques.adapters.structure import layers_of
from vitruvius.train.adapting import attach

LAYERS = {"ours": ("blocks", 2), "bert": ("encoder.layer", 2), "llama": ("layers", 2)}
AFTER = {"ours": {"norm.weight", "norm.bias"}, "bert": set(), "llama": {"norm.weight"}}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_last_layers_and_what_follows_them(kind: str) -> None:
    path, depth = LAYERS[kind]
    for count in range(1, depth + 1):
        model = base(kind)
        adapted = attach(LastLayers(count), model, given())
        trained = {n for n, p in base_parameters(model).items() if p.requires_grad}
        last = tuple(f"input.network.{path}.{i}." for i in range(depth - count, depth))
        after = {f"input.network.{name}" for name in AFTER[kind]}
        assert trained == {n for n in base_parameters(model) if n.startswith(last)} | after
        assert adapted.count == sum(base_parameters(model)[n].numel() for n in trained)


def test_the_backward_pass_ends_where_they_begin() -> None:
    model = base("ours")
    attach(LastLayers(1), model, given())
    body = model.bodies["input"]
    found = body(batch().streams["input"], frozenset({"layer.0", "layer.1"})).taps
    assert not found["layer.0"].requires_grad and found["layer.1"].requires_grad


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most the number of layers, 2; got 3\. .* FullTuning"):
        attach(LastLayers(3), base("ours"), given())
    with pytest.raises(ValueError, match=r"LastLayers\.count must be at least 1; got 0\. .*Probe"):
        LastLayers(0)
    model = Model({"input": nn.Linear(2, 2)}, {}, Lineage("x"))
    with pytest.raises(ValueError, match=r"LastLayers needs layers in a ModuleList.*Linear has"):
        attach(LastLayers(), model, given())


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_by_path(kind: str) -> None:
    path, depth = LAYERS[kind]
    found = layers_of(base(kind).bodies["input"])
    assert [*found] == [f"network.{path}.{i}" for i in range(depth)]


def test_what_has_no_parameters_is_no_layer() -> None:
    layer = nn.Linear(3, 3)
    body = nn.ModuleList([nn.Sequential(layer), nn.Sequential(layer), nn.ReLU()])
    assert [*layers_of(body)] == ["0", "1"]
