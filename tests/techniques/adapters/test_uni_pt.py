"""UniPT: no gradient enters the base, and what it computes is of one document alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.bases import answers, base, batch, given, train
from tests.contracts.layouts import layout_of
from vitruvius.contracts import Layout, Sites, Stream
from vitruvius.techniques.adapters import LayerMix, LowRank, UniPT
from vitruvius.techniques.adapters.documents import first_of, mean_of, together
from vitruvius.techniques.adapters.uni_pt import interaction
from vitruvius.train.adapting import attach

L, D, K = 2, 64, 8
COUNT = L * (K * D + 3 * K) + (K * K + 4 * K + D * K + D)
LAYOUT = layout_of([[3, 2], [4]])
READERS = (UniPT(K), UniPT(K, True), UniPT(K, pool="cls"), LayerMix())


def drawn(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_numbers_are_counted_exactly(kind: str) -> None:
    assert attach(UniPT(K), base(kind), given()).count == COUNT
    assert attach(LayerMix(), base(kind), given()).count == L + 1


@pytest.mark.parametrize("kind", ["ours", "bert"])
@pytest.mark.parametrize("reader", READERS, ids=repr)
def test_no_gradient_enters_the_base(kind: str, reader: Any, monkeypatch: Any) -> None:
    seen: list[Tensor] = []
    read = type(reader).read

    def watched(self: Any, t: Any, taps: Any, layout: Layout) -> Tensor:
        seen.extend(taps.values())
        return read(self, t, taps, layout)

    monkeypatch.setattr(type(reader), "read", watched)
    model = base(kind)
    adapted = attach(reader, model, given())
    hidden = model.bodies["input"](batch().streams["input"]).hidden
    assert seen and not any(tap.requires_grad for tap in seen)
    hidden.square().sum().backward()
    parameters = dict(model.bodies["input"].named_parameters())
    assert all((p.grad is not None) == ("adapter" in n) for n, p in parameters.items())
    assert adapted.count == sum(p.numel() for n, p in parameters.items() if "adapter" in n)


def saved_bytes(kind: str, adapter: Any) -> int:
    model = base(kind)
    attach(adapter, model, given())
    own = {t.untyped_storage().data_ptr() for t in model.bodies["input"].parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        _ = model.bodies["input"].train()(batch().streams["input"]).hidden
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_nothing_of_the_base_is_kept_for_the_backward_pass(kind: str) -> None:
    assert saved_bytes(kind, UniPT(4)) < 0.5 * saved_bytes(kind, LowRank(2))


def test_rows_of_the_interaction_sum_to_one_or_none() -> None:
    same = together(drawn(2, 5, K), LAYOUT)
    weights = interaction(drawn(2, 5, K), -drawn(2, 5, K) + 0.5, same)
    sums = weights.sum(2)
    assert ((sums - 1).abs() < 1e-5).logical_or(sums == 0).all()
    assert (weights[0, :3, 3:] == 0).all() and (weights[1, :, 4] == 0).all()
    nobody = interaction(torch.ones(1, 5, K), -torch.ones(1, 5, K), same[:1])
    assert not nobody.any()


def test_confidences_sum_to_one() -> None:
    same = together(drawn(2, 5, K), LAYOUT)
    below = [drawn(2, 5, K) * i for i in (1, 2, 3)]
    weights = UniPT(K).confidences(drawn(K), drawn(2, 5, K), below, same)
    assert weights.shape == (2, 5, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))
    assert torch.equal(weights[0, 0], weights[0, 2])
    assert not torch.equal(weights[0, 0], weights[0, 3])


def test_means_and_firsts_are_of_documents() -> None:
    x = drawn(2, 5, K)
    same = together(x, LAYOUT)
    torch.testing.assert_close(mean_of(x, same)[0, 1], x[0, :3].mean(0))
    torch.testing.assert_close(mean_of(x, same)[0, 4], x[0, 3:5].mean(0))
    assert not mean_of(x, same)[1, 4].any()
    assert torch.equal(first_of(x, same)[0, 4], x[0, 3])
    image = Layout(torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.long))
    torch.testing.assert_close(mean_of(x, together(x, image))[1, 0], x[1].mean(0))


@pytest.mark.parametrize("kind", ["ours", "bert"])
@pytest.mark.parametrize("reader", READERS, ids=repr)
def test_padding_and_neighbours_change_nothing(kind: str, reader: Any) -> None:
    model = base(kind)
    attach(reader, model, given())
    train(model)
    body = model.bodies["input"].eval()
    stream = batch((5, 5)).streams["input"]
    padded = torch.nn.functional.pad(stream.values, (0, 4), value=7)
    longer = Stream(padded, layout_of([[5], [5]], 9))
    packed = Stream(stream.values.reshape(1, 10), layout_of([[5, 5]]))
    with torch.no_grad():
        plain = body(stream).hidden
        torch.testing.assert_close(body(longer).hidden[:, :5], plain, rtol=1e-5, atol=1e-6)
        together_ = body(packed).hidden.reshape(2, 5, -1)
        torch.testing.assert_close(together_, plain, rtol=1e-5, atol=1e-6)


def test_only_what_replaces_changes_the_base_at_the_start() -> None:
    for reader in READERS:
        model = base("ours")
        before = answers(model)
        attach(reader, model, given())
        assert torch.equal(answers(model), before) == reader.identity


def test_the_mix_is_the_mean_at_the_start() -> None:
    model = base("ours")
    stream = batch().streams["input"]
    with torch.no_grad():
        taps = model.bodies["input"](stream, frozenset({"layer.0", "layer.1"})).taps
        attach(LayerMix(), model, given())
        mixed = model.bodies["input"](stream).hidden
    torch.testing.assert_close(mixed, (taps["layer.0"] + taps["layer.1"]) / 2)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"UniPT\.width must be at least 1; got 0\."):
        UniPT(0)
    with pytest.raises(ValueError, match=r"UniPT\.pool must be one of mean, cls; got 'last'\."):
        UniPT(pool="last")
    model = base("ours")
    attach(UniPT(K, sites=Sites(kinds=("layer",))), model, given())
    with pytest.raises(ValueError, match=r"UniPT\.sites must mean the output too; got layers alo"):
        answers(model)
    with pytest.raises(ValueError, match=r"UniPT cannot be merged: it reads several layers"):
        attach(UniPT(K), base("ours"), given()).merge()
