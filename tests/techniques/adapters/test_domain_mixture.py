"""Mixtures of domains: what each gate does at the start, both stages, and what stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.bases import answers, base, batch, given, train
from tests.contracts.layouts import layout_of
from vitruvius.contracts import Fitted
from vitruvius.techniques.adapters import Bottleneck, DomainMixture, Together
from vitruvius.techniques.adapters.domain_mixture import EVERY, OF_DOMAINS, stacked
from vitruvius.train.adapting import attach
from vitruvius.train.sites import locate

SIZES = {"down": (2, 3, 5), "down_bias": (2, 3), "up": (2, 4, 3), "up_bias": (2, 4)}
LAYOUT = layout_of([[3, 2], [4]])


def tensors(adapter: DomainMixture, zero: bool = False) -> dict[str, Tensor]:
    """Drawn, for k of width 5 and y of width 4; U and its bias at zero where asked."""
    rng = torch.Generator().manual_seed(0)
    n = adapter.domains + adapter.shares
    h = adapter.hidden
    sizes = SIZES | {
        "gate_down": (h, 5),
        "gate_down_bias": (h,),
        "gate_up": (n, h),
        "gate_up_bias": (n,),
    }
    made = {name: torch.randn(size, generator=rng) for name, size in sizes.items()}
    return made | ({n: torch.zeros(SIZES[n]) for n in ("up", "up_bias")} if zero else {})


def inputs() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, 5, generator=rng), torch.randn(2, 5, 4, generator=rng)


def forced(adapter: DomainMixture, number: int) -> dict[str, Tensor]:
    """With a gate that gives everything to one."""
    t = tensors(adapter)
    t["gate_up"] = torch.zeros_like(t["gate_up"])
    t["gate_up_bias"] = torch.full_like(t["gate_up_bias"], -1e9)
    t["gate_up_bias"][number] = 1e9
    return t


def test_added_by_residual_gates_it_is_the_base_at_the_start() -> None:
    adapter, (x, y) = DomainMixture(2, 3), inputs()
    made, _ = adapter.forward(tensors(adapter, zero=True), x, y, LAYOUT, None)
    assert torch.equal(made, y)


@pytest.mark.parametrize("gate", ["softmax", "even"])
def test_shared_out_it_is_the_base_times_its_weight(gate: str) -> None:
    adapter, (x, y) = DomainMixture(2, 3, gate), inputs()
    t = tensors(adapter, zero=True)
    weight = adapter.weights(t, x, LAYOUT)
    torch.testing.assert_close(weight.sum(-1), torch.ones(2, 5))
    made, _ = adapter.forward(t, x, y, LAYOUT, None)
    torch.testing.assert_close(made, weight[..., 2:] * y)
    assert not adapter.identity


def test_a_gate_that_is_sure_gives_the_base_or_a_domain() -> None:
    adapter, (x, y) = DomainMixture(2, 3, "softmax"), inputs()
    made, _ = adapter.forward(forced(adapter, 2), x, y, LAYOUT, None)
    assert torch.equal(made, y)
    for number in range(2):
        t = forced(adapter, number)
        made, _ = adapter.forward(t, x, y, LAYOUT, None)
        inner = torch.nn.functional.gelu(x @ t["down"][number].T + t["down_bias"][number])
        torch.testing.assert_close(made, inner @ t["up"][number].T + t["up_bias"][number])


@pytest.mark.parametrize("grain", ["document", "first"])
def test_a_document_has_one_weight_whatever_stands_beside(grain: str) -> None:
    adapter, (x, _) = DomainMixture(2, 3, grain=grain), inputs()
    t = tensors(adapter)
    weight = adapter.weights(t, x, LAYOUT)
    assert torch.equal(weight[0, 0], weight[0, 2]) and not torch.equal(weight[0, 0], weight[0, 3])
    alone = adapter.weights(t, x[:1, 3:5], layout_of([[2]]))
    torch.testing.assert_close(alone[0, 0], weight[0, 3])
    other = x.clone()
    other[1, 4] = 1e3  # padding
    torch.testing.assert_close(adapter.weights(t, other, LAYOUT)[1, :4], weight[1, :4])


def test_weights_of_each_token_are_its_own() -> None:
    adapter, (x, _) = DomainMixture(2, 3, grain="token"), inputs()
    weight = adapter.weights(tensors(adapter), x, LAYOUT)
    assert not torch.equal(weight[0, 0], weight[0, 1])


@pytest.mark.parametrize("gate", ["residual", "softmax", "even"])
@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_numbers_are_counted_exactly(gate: str, kind: str) -> None:
    adapter = DomainMixture(3, 4, gate, hidden=8, sites=EVERY)
    f, d, m, answers_of = 128, 64, 4, {"residual": 3, "softmax": 4, "even": 0}[gate]
    of_gate = (8 * f + 8 + answers_of * 8 + answers_of) if answers_of else 0
    assert attach(adapter, base(kind), given()).count == 2 * (3 * (f * m + m + m * d + d) + of_gate)


def trained_alone(seed: int) -> Fitted:
    adapted = attach(DomainMixture(1, 4, hidden=8, sites=EVERY), base("ours"), given(seed))
    train(adapted.model)
    return adapted.save()[0]


def test_the_second_stage_keeps_the_domains() -> None:
    first = stacked([trained_alone(0), trained_alone(1)])
    mixture = DomainMixture(1, 4, hidden=8, sites=EVERY).second(2)
    task = Bottleneck(4)
    model = base("ours")
    adapted = attach(Together((mixture, task)), model, given().but(fitted=first))
    alone = attach(task, base("ours"), given())
    of_gate = 2 * (8 * 128 + 8 + 2 * 8 + 2)
    assert adapted.count == alone.count + of_gate and not mixture.identity
    train(adapted.model)
    saved = adapted.save()[0].tensors
    for name, tensor in first.tensors.items():
        assert name.rpartition("/")[2] in OF_DOMAINS
        assert torch.equal(saved[name], tensor)
    for name, parameter in model.bodies["input"].named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.any())
        assert moved == parameter.requires_grad, name
    assert any("gate" in n for n, p in model.bodies["input"].named_parameters() if p.requires_grad)


def test_a_domain_alone_is_had_again() -> None:
    """One-hot on a loaded domain is the model of that domain."""
    adapter = DomainMixture(1, 4, "even", sites=EVERY)
    adapted = attach(adapter, base("ours"), given())
    train(adapted.model)
    again = attach(
        adapter.second(1), base("ours"), given(5).but(fitted=stacked([adapted.save()[0]]))
    )
    assert torch.equal(answers(again.model), answers(adapted.model))


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_a_body_tells_what_a_site_was(kind: str) -> None:
    model = base(kind)
    adapted = attach(
        Together((DomainMixture(1, 4, sites=EVERY), Bottleneck(4, sites=EVERY))), model, given()
    )
    train(adapted.model)
    body, stream = model.bodies["input"].eval(), batch().streams["input"]
    with torch.no_grad():
        hidden = body(stream).hidden
        outputs = body(stream, frozenset({"original", "layer.0"}))
    assert torch.equal(outputs.hidden, hidden)
    names = {f"{i}.ffn.down{end}" for i in (0, 1) for end in ("", ".original")}
    assert outputs.taps.keys() == names | {"layer.0"}
    assert not torch.equal(outputs.taps["0.ffn.down"], outputs.taps["0.ffn.down.original"])
    assert not body(stream, frozenset({"layer.0"})).taps.keys() & names
    adapted.detach()
    with torch.no_grad():
        plain: dict[str, Tensor] = {}
        down = next(o.module for o in locate(model) if o.site.place == "ffn.down")
        down_hook = down.register_forward_hook(lambda m, i, o: plain.update(y=o))
        body(stream)
        down_hook.remove()
    torch.testing.assert_close(plain["y"], outputs.taps["0.ffn.down.original"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"domains": 0}, r"DomainMixture\.domains must be at least 1; got 0\."),
        ({"width": 0}, r"DomainMixture\.width must be at least 1; got 0\."),
        ({"gate": "hard"}, r"DomainMixture\.gate must be one of residual, .*; got 'hard'\."),
        ({"grain": "row"}, r"DomainMixture\.grain must be one of document, .*; got 'row'\."),
    ],
)
def test_what_it_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DomainMixture(**fields)


def test_domains_of_other_sites_are_refused() -> None:
    one = trained_alone(0)
    other = Fitted({name.replace("blocks/1", "blocks/7"): t for name, t in one.tensors.items()})
    with pytest.raises(ValueError, match=r"saved of the same sites; number 1 has no adapter\.0\."):
        stacked([one, other])
    with pytest.raises(ValueError, match=r"stacked needs what was saved of at least one domain"):
        stacked([])
    wrong = DomainMixture(1, 8, sites=EVERY).second(1)
    with pytest.raises(ValueError, match=r"Fixed needs one saved tensor .* there are \[\[1, 4,"):
        attach(wrong, base("ours"), given().but(fitted=stacked([one])))
