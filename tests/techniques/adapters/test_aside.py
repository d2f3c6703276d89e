"""Asides: a path of trained modules from the input to the output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.bases import answers, base, batch, given, train
from tests.contracts.layouts import layout_of
from vitruvius.contracts import Adapted, Adapter, Model
from vitruvius.techniques.adapters import Aside, LowRank, Together
from vitruvius.train.adapting import attach
from vitruvius.train.sites import locate

L, D, R = 2, 64, 4
COUNTS = {
    "layer": L * (2 * D * R + R + D),
    "sublayer": 2 * L * (2 * D * R + R + D),
    "carried": L * (2 * D * R + R * R + R),
}


@pytest.mark.parametrize("variant", COUNTS)
@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_numbers_are_counted_exactly(variant: str, kind: str) -> None:
    assert attach(Aside(variant, R), base(kind), given()).count == COUNTS[variant]
    assert attach(Aside(variant, R, depths=(1.0,)), base(kind), given()).count == (
        COUNTS[variant] // 2
    )


def silent(model: Model) -> None:
    """Every layer gives zeros."""
    for one in locate(model):
        if one.site.kind == "layer":
            one.module.register_forward_hook(_nothing)


def _nothing(module: nn.Module, inputs: Any, output: Any) -> Any:
    return (output[0] * 0, *output[1:]) if isinstance(output, tuple) else output * 0


def gradient(adapter: Adapter, kind: str) -> dict[str, float]:
    """By part and layer: the norm of the gradient, where layers give nothing."""
    model = base(kind)
    silent(model)
    adapted = attach(adapter, model, given())
    with torch.no_grad():  # as after some steps: nothing is zero any more
        for parameter in trained(adapted):
            parameter.normal_(std=0.1, generator=given().rng)
    hidden = model.bodies["input"].eval()(batch().streams["input"]).hidden
    if not hidden.requires_grad:
        return {}
    hidden.square().sum().backward()
    body = model.bodies["input"]
    return {
        name: 0.0 if p.grad is None else float(p.grad.norm())
        for name, p in body.named_parameters()
        if p.requires_grad
    }


def trained(adapted: Adapted) -> list[nn.Parameter]:
    return [p for p in adapted.model.bodies["input"].parameters() if p.requires_grad]


def of_first(found: dict[str, float], name: str) -> list[float]:
    layers = ("blocks/0/", "layer/0/")
    return [v for n, v in found.items() if any(w in n for w in layers) and n.endswith(name)] or [
        v for n, v in found.items() if n.split("/")[-2] == "0" and n.endswith(name)
    ]


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_what_trains_is_one_path(kind: str) -> None:
    for variant in ("layer", "carried"):
        found = gradient(Aside(variant, R, activation="gelu"), kind)
        assert all(norm > 0 for norm in of_first(found, "down")), found
        assert of_first(found, "down")
    scattered = gradient(LowRank(4), kind)
    assert not any(scattered.values())


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_it_stands_beside_low_rank(kind: str) -> None:
    adapter = Together((LowRank(2), Aside("layer", R)))
    model = base(kind)
    before = answers(model)
    adapted = attach(adapter, model, given())
    assert adapter.identity and torch.equal(answers(model), before)
    alone = [attach(one, base(kind), given()).count for one in adapter.adapters]
    assert adapted.count == sum(alone)
    train(adapted.model)
    now = answers(adapted.model)
    assert not torch.equal(now, before)
    adapted.detach()
    assert torch.equal(answers(model), before)


def test_a_state_is_handed_on() -> None:
    rng = torch.Generator().manual_seed(0)
    adapter, layout = Aside("carried", 2, 0.5), layout_of([[3]])
    sizes = {"down": (2, 4), "down_bias": (2,), "pass": (2, 2), "up": (4, 2)}
    one, two = ({n: torch.randn(s, generator=rng) for n, s in sizes.items()} for _ in range(2))
    x, y = torch.randn(1, 3, 4, generator=rng), torch.randn(1, 3, 4, generator=rng)
    first, state = adapter.forward(one, x, y, layout, None)
    by_hand = (x @ one["down"].T + one["down_bias"]).relu()
    assert state is not None
    torch.testing.assert_close(state, by_hand)
    torch.testing.assert_close(first, y + 0.5 * by_hand @ one["up"].T)
    _, later = adapter.forward(two, first, y, layout, state)
    inner = first @ two["down"].T + two["down_bias"] + state @ two["pass"].T
    torch.testing.assert_close(later, state + inner.relu())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variant": "after"}, r"Aside\.variant must be one of layer, sublayer, carried; got"),
        ({"width": 0}, r"Aside\.width must be at least 1; got 0\."),
        ({"scale": 0.0}, r"Aside\.scale must be above 0; got 0\.0\."),
        ({"activation": "no"}, r"Aside\.activation must be one of relu, .*; got 'no'\."),
    ],
)
def test_what_it_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Aside(**fields)
