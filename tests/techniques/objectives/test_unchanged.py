"""The loss that keeps edited sites as they were, on texts of another kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.contracts.bases import base, batch, given, train
from vitruvius.contracts import Batch, Progress, Stream
from vitruvius.techniques.adapters import DomainMixture, LowRank
from vitruvius.techniques.adapters.domain_mixture import EVERY
from vitruvius.techniques.objectives import Unchanged
from vitruvius.train.adapting import attach

NOW = Progress(0, 0, 12, 0.0)


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_it_is_zero_at_the_start_and_then_the_mean_square(kind: str) -> None:
    model = base(kind)
    attach(DomainMixture(1, 4, sites=EVERY), model, given())
    model.bodies["input"].eval()
    objective, seen = Unchanged(), batch()
    parts = objective.build(model)
    assert objective.step(model, parts, seen, NOW, given()).value == 0
    train(model)
    model.bodies["input"].eval()
    loss = objective.step(model, parts, seen, NOW, given())
    taps = model.bodies["input"](seen.streams["input"], frozenset({"original"})).taps
    rows = []
    for row, length in enumerate((9, 4, 7)):
        changes = [
            taps[f"{i}.ffn.down"][row, :length] - taps[f"{i}.ffn.down.original"][row, :length]
            for i in (0, 1)
        ]
        rows.append(torch.stack(changes).square().mean())
    torch.testing.assert_close(loss.per_row, torch.stack(rows))
    torch.testing.assert_close(loss.value, torch.stack(rows).mean())
    model.bodies["input"].zero_grad()
    loss.value.backward()
    up = [p for n, p in model.bodies["input"].named_parameters() if n.endswith("/up")]
    assert up and all(p.grad is not None and p.grad.any() for p in up)


def test_the_order_of_rows_does_not_matter() -> None:
    model = base("ours")
    attach(DomainMixture(1, 4, sites=EVERY), model, given())
    train(model)
    model.bodies["input"].eval()
    objective, seen = Unchanged(), batch()
    stream, order = seen.streams["input"], torch.tensor([2, 0, 1])
    layout = replace(
        stream.layout,
        positions=stream.layout.positions[order],
        segments=stream.layout.segments[order],
    )
    turned = Batch(
        {"input": replace(stream, values=stream.values[order], layout=layout)}, {}, order
    )
    one = objective.step(model, objective.build(model), seen, NOW, given()).per_row
    two = objective.step(model, objective.build(model), turned, NOW, given()).per_row
    assert one is not None and two is not None
    torch.testing.assert_close(two, one[order])


@pytest.mark.parametrize("adapter", [None, LowRank()], ids=["none", "no branch"])
def test_a_model_without_branches_is_refused(adapter: LowRank | None) -> None:
    model = base("ours")
    if adapter is not None:
        attach(adapter, model, given())
    with pytest.raises(ValueError, match=r"Unchanged compares sites that have a branch .* Attach"):
        Unchanged().step(model, Unchanged().build(model), batch(), NOW, given())


def _batch(stream: Stream) -> Batch:
    return Batch({"input": stream}, {}, torch.arange(len(stream.values)))
