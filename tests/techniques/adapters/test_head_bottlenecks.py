"""Bottlenecks of heads: what each adds, by hand; counted; where it is put."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import BASES, answers, base, batch_for, given, train
from vitruvius.contracts import Lineage, Model, Stream
from vitruvius.techniques.adapters import HeadBottlenecks
from vitruvius.techniques.compressors import PruneHeads
from vitruvius.techniques.sources import Generated
from vitruvius.train.adapting import attach
from vitruvius.train.sites import locate

TAPS = frozenset({"original"})


def drawn(kind: str, adapter: HeadBottlenecks) -> tuple[Model, dict[str, dict[str, Tensor]]]:
    """A base with the adapter, none of whose tensors is zero, and these by path."""
    model = base(kind)
    attach(adapter, model, given())
    body: Any = model.bodies["input"]
    made = body.adapter["0"].source(None)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensors in made.values():
            for tensor in tensors.values():
                tensor.copy_(torch.randn(tensor.shape, generator=rng) / 4)
    return model, made


def heard(model: Model, name: str) -> tuple[Tensor, ...]:
    """What the query map and the map back of the first attention read, once the adapter has
    acted."""
    part = next(one for one in locate(base(name)) if one.site.kind == "attention")
    body = model.bodies["input"]
    paths = {module: path for path, module in part.body.named_modules()}
    read: list[Tensor] = []
    hooks = [
        body.get_submodule(paths[module]).register_forward_pre_hook(
            lambda _, inputs: read.append(inputs[0].detach())
        )
        for module in (part.entry, part.exit)
    ]
    answers(model)
    for hook in hooks:
        hook.remove()
    return tuple(read)


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("kind", BASES)
def test_each_head_gets_its_own(kind: str, activation: str) -> None:
    adapter = HeadBottlenecks(3, 2.0, activation)
    model, made = drawn(kind, adapter)
    x, now = heard(model, kind)
    _, before = heard(base(kind), kind)
    t = next(iter(made.values()))
    for head in range(4):
        here = slice(16 * head, 16 * head + 16)
        inner = x @ t["down"][3 * head : 3 * head + 3].T + t["down_bias"][3 * head : 3 * head + 3]
        inner = inner.relu() if activation == "relu" else inner
        added = inner @ t["up"][head].T + t["up_bias"][here]
        expected = before[..., here] + 2.0 * added
        torch.testing.assert_close(now[..., here], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BASES)
def test_numbers_are_counted(kind: str) -> None:
    adapted = attach(HeadBottlenecks(3), base(kind), given())
    assert adapted.count == 2 * 4 * (3 * 64 + 3 + 3 * 16 + 16)
    assert "no linear map" in str(adapted.unmergeable())


def test_what_the_heads_gave_and_give_is_told() -> None:
    model, _ = drawn("ours", HeadBottlenecks(3))
    stream = batch_for(model).streams["input"]
    taps = model.bodies["input"](stream, TAPS).taps
    assert {"0.heads", "0.heads.original", "1.heads"} <= set(taps)
    assert not torch.equal(taps["0.heads"], taps["0.heads.original"])


def test_heads_that_are_left_have_theirs() -> None:
    made = PruneHeads(0.5, "weight").compress(base("bert"), given()).model
    adapted = attach(HeadBottlenecks(3), made, given())
    assert adapted.count == 2 * 2 * (3 * 64 + 3 + 3 * 16 + 16)


def test_a_network_may_write_them_for_each_row() -> None:
    model = base("ours")
    body, stream = model.bodies["input"], batch_for(model).streams["input"]
    adapter = HeadBottlenecks(2, source=Generated(2, embedding=4, decompose="none"))
    routed, other = (
        replace(stream, layout=replace(stream.layout, route=torch.tensor(route)))
        for route in ([0, 1, 0], [1, 1, 0])
    )
    first = body(stream).hidden
    attach(adapter, model, given())
    assert torch.equal(body(routed).hidden, first)
    train_with(model, routed)
    one, two = (body(told).hidden for told in (routed, other))
    assert not torch.equal(one, first)
    assert torch.equal(one[1:], two[1:]) and not torch.equal(one[0], two[0])


def train_with(model: Model, stream: Stream) -> None:
    body = model.bodies["input"]
    optimizer = torch.optim.Adam([p for p in body.parameters() if p.requires_grad], 0.05)
    for _ in range(2):
        optimizer.zero_grad()
        body(stream).hidden[:, 0].square().mean().backward()
        optimizer.step()


def test_it_learns_beside_every_head() -> None:
    model = base("llama")
    first = answers(model)
    attach(HeadBottlenecks(2), model, given())
    train(model)
    assert not torch.equal(answers(model), first)


def test_an_attention_that_tells_no_heads_is_refused() -> None:
    model = base("ours")
    body: Any = model.bodies["input"]
    for block in body.network.blocks:
        block.mixer = Plain(block.mixer)
    with pytest.raises(ValueError, match=r"HeadBottlenecks can act on none of the .* sites"):
        attach(HeadBottlenecks(2), model, given())


class Plain(nn.Module):
    """An attention of one head, which does not say so."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = like.query, like.key, like.value, like.out

    def forward(self, x: Tensor, layout: Any) -> Tensor:
        scores = self.query(x) @ self.key(x).mT
        return self.out(scores.softmax(-1) @ self.value(x))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, r"HeadBottlenecks\.width must be at least 1; got 0\. For no branch, take"),
        ({"scale": 0.0}, r"HeadBottlenecks\.scale must be above 0; got 0\.0"),
        ({"activation": "x"}, r"HeadBottlenecks\.activation must be one of relu, .* got 'x'"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadBottlenecks(**fields)


def test_a_model_of_no_attention_is_refused() -> None:
    plain = Model({"input": nn.Sequential(nn.Linear(4, 4))}, {}, Lineage("x"))
    with pytest.raises(ValueError, match=r"Sites\.kinds names 'attention', a site that does not"):
        attach(HeadBottlenecks(2), plain, given())
