"""Every adapter on every kind of base: the same at the start, trained alone, and undone whole."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import BASES, answers, base, batch, given, train
from tests.contracts.common import example, samples
from tests.contracts.layouts import layout_of
from tests.contracts.test_storing import through
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Adapted, Adapter, Model, Stream, base_parameters
from vitruvius.interop.peft import LoRA
from vitruvius.train.adapting import attach
from vitruvius.train.attached import attached_to
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.grouping import group_parameters

pytest.importorskip("peft")
ADAPTERS: tuple[type[Adapter], ...] = (*catalogue(Adapter), LoRA)
UNFIT = {
    ("BitFit", kind): "BitFit trains biases, and this model has none"
    for kind in ("llama", "modernbert")
}
PAIRS = [(cls, kind) for cls in ADAPTERS for kind in BASES if (cls.__name__, kind) not in UNFIT]

pairs = pytest.mark.parametrize(
    ("cls", "kind"), PAIRS, ids=[f"{cls.__name__}-{kind}" for cls, kind in PAIRS]
)


def digest(model: Model) -> str:
    body = model.bodies["input"]
    return digest_of({**dict(body.named_parameters()), **dict(body.named_buffers())})


def shape(model: Model) -> list[Any]:
    """All of a body but its values: classes, attributes, order, flags, modes."""
    body = model.bodies["input"]
    parts: list[Any] = [
        (path, type(part), part.training, sorted(vars(part)), list(part._parameters))
        for path, part in body.named_modules()
    ]
    hooks = [
        (path, name)
        for path, part in body.named_modules()
        for name, held in vars(part).items()
        if "hooks" in name and held
    ]
    flags = [(n, p.requires_grad, p.grad is None, id(p)) for n, p in body.named_parameters()]
    return [parts, hooks, flags, [(n, id(b)) for n, b in body.named_buffers()]]


def trained(model: Model) -> dict[str, Tensor]:
    body = model.bodies["input"]
    return {n: p for n, p in body.named_parameters() if p.requires_grad}


def start(cls: type[Adapter], kind: str) -> tuple[Model, Adapted]:
    model = base(kind)
    return model, attach(example(cls), model, given())


@pairs
def test_it_is_the_base_at_the_start(cls: type[Adapter], kind: str) -> None:
    model = base(kind)
    before = answers(model)
    adapted = attach(example(cls), model, given())
    assert isinstance(adapted, Adapted)
    assert torch.equal(answers(adapted.model), before) == example(cls).identity
    assert all(not delta.any() for delta in adapted.deltas().values())


@pairs
def test_what_trains_is_counted_and_gets_a_gradient(cls: type[Adapter], kind: str) -> None:
    for adapter in [example(cls), *samples(cls, 4)]:
        model = base(kind)
        try:
            adapted = attach(adapter, model, given())
        except ValueError as error:  # a drawn rank or depth may exceed so small a base
            assert adapter != example(cls) and "must be at most" in str(error)
            continue
        body = adapted.model.bodies["input"]
        assert adapted.count == sum(p.numel() for p in trained(adapted.model).values())
        assert (adapted.count == 0) == adapter.frozen
        names = {name for group in group_parameters(body) for name in group.names}
        assert names == set(trained(adapted.model))
        train(adapted.model, steps=1)
        assert all(p.grad is not None for p in trained(adapted.model).values())
        assert all(p.grad is None for p in body.parameters() if not p.requires_grad)


@pairs
def test_training_changes_it_and_the_head(cls: type[Adapter], kind: str) -> None:
    model, adapted = start(cls, kind)
    head = {n: p.detach().clone() for n, p in model.heads["task"].named_parameters()}
    before = answers(model)
    train(adapted.model)
    assert torch.equal(answers(adapted.model), before) == example(cls).frozen
    changed = any(delta.any() for delta in adapted.deltas().values())
    assert not (changed and example(cls).frozen)
    assert all(not torch.equal(head[n], p) for n, p in model.heads["task"].named_parameters())


@pairs
def test_detaching_gives_the_base_back(cls: type[Adapter], kind: str) -> None:
    model = base(kind)
    before, built = digest(model), shape(model)
    adapted = attach(example(cls), model, given())
    train(adapted.model)
    plain = adapted.detach()
    assert digest(plain) == before
    assert shape(plain) == built
    assert torch.equal(answers(plain), answers(base(kind)))


def merged(adapted: Adapted, keep: bool = False) -> Model | None:
    """The plain model; None, with nothing changed, where it says why it cannot be one."""
    before, built = answers(adapted.model), shape(adapted.model)
    try:
        return adapted.merge(keep)
    except ValueError as error:
        assert re.fullmatch(r"\w+ cannot be merged: .*\. Keep the adapter beside .*", str(error))
        assert shape(adapted.model) == built
        assert torch.equal(answers(adapted.model), before)
        return None


@pairs
def test_merging_keeps_what_was_learned(cls: type[Adapter], kind: str, tmp_path: Path) -> None:
    model = base(kind)
    built = shape(model)
    adapted = attach(example(cls), model, given())
    train(adapted.model)
    before, deltas = answers(adapted.model), adapted.deltas()
    plain = merged(adapted)
    if plain is None:
        return
    torch.testing.assert_close(answers(plain), before, rtol=1e-5, atol=1e-5)
    assert shape(plain) == built
    first = base_parameters(base(kind))
    for name, parameter in base_parameters(plain).items():
        change = deltas.get(name, torch.zeros(()))
        torch.testing.assert_close(parameter, first[name] + change, rtol=1e-5, atol=1e-6)
    read = through(tmp_path, plain)
    assert torch.equal(answers(read), answers(plain))


@pairs
def test_it_is_stored_and_copied_with_its_edits(
    cls: type[Adapter], kind: str, tmp_path: Path
) -> None:
    model, adapted = start(cls, kind)
    train(adapted.model)
    now = answers(model)
    read = through(tmp_path, model)
    assert torch.equal(answers(read), now) and torch.equal(answers(model), now)
    twin = replace(model, bodies=copy.deepcopy(dict(model.bodies)))
    adapted.detach()
    assert torch.equal(answers(twin), now)
    there = attached_to(read.bodies["input"])
    assert there is not None
    there.detach()
    assert digest(read) == digest(base(kind))


@pairs
def test_unmerging_puts_back_what_was_kept(cls: type[Adapter], kind: str) -> None:
    model, adapted = start(cls, kind)
    train(adapted.model)
    before, names = answers(adapted.model), set(trained(adapted.model))
    with pytest.raises(ValueError, match=r"was not merged with keep=True.* Attach it anew, or"):
        adapted.unmerge()
    if merged(adapted, keep=True) is None:
        return
    with pytest.raises(ValueError, match=r"is merged into its base\. Call unmerge\(\) first\."):
        adapted.save()
    assert torch.equal(answers(adapted.unmerge()), before)
    assert set(trained(adapted.model)) == names
    with adapted.original():
        assert torch.equal(answers(model), answers(base(kind)))
    train(adapted.model)
    adapted.detach()
    assert digest(model) == digest(base(kind))


@pairs
def test_half_precision_is_close(cls: type[Adapter], kind: str) -> None:
    _, adapted = start(cls, kind)
    train(adapted.model)
    exact = answers(adapted.model)
    with torch.autocast("cpu", torch.bfloat16):
        near = answers(adapted.model).float()
    assert (near - exact).norm() <= 2e-2 * exact.norm()


@pairs
def test_packed_documents_are_answered_as_each_alone(cls: type[Adapter], kind: str) -> None:
    if kind == "vit":
        return  # images are not packed
    _, adapted = start(cls, kind)
    train(adapted.model)
    body, lengths = adapted.model.bodies["input"].eval(), (9, 4, 7)
    alone = batch(lengths).streams["input"]
    ids = torch.cat([row[:n] for row, n in zip(alone.values, lengths, strict=True)])[None]
    together = Stream(ids, layout_of([list(lengths)]))
    with torch.no_grad():
        apart, packed = body(alone).hidden, body(together).hidden
    rows = torch.cat([row[:n] for row, n in zip(apart, lengths, strict=True)])[None]
    torch.testing.assert_close(packed, rows, rtol=1e-5, atol=1e-5)


@pytest.mark.compiling
@pairs
def test_it_compiles(cls: type[Adapter], kind: str) -> None:
    _, adapted = start(cls, kind)
    train(adapted.model)
    torch._dynamo.reset()
    body = torch.compile(adapted.model.bodies["input"].eval(), backend="aot_eager")
    stream = batch().streams["input"]
    with torch.no_grad():
        torch.testing.assert_close(
            body(stream).hidden, answers(adapted.model), rtol=1e-5, atol=1e-5
        )
    hidden = body(stream).hidden
    if hidden.requires_grad:
        hidden.square().mean().backward()
        assert all(p.grad is not None for p in trained(adapted.model).values())


@pairs
def test_a_frozen_one_drops_nothing(cls: type[Adapter], kind: str) -> None:
    model, adapted = start(cls, kind)
    still = torch.equal(answers(adapted.model, train=True), answers(model))
    assert still == (example(cls).frozen or kind == "llama"), "Llama has no dropout"


@pairs
def test_the_same_seed_gives_the_same_bits(cls: type[Adapter], kind: str) -> None:
    ends, state = [], torch.random.get_rng_state()
    for _ in range(2):
        _, adapted = start(cls, kind)
        assert torch.equal(torch.random.get_rng_state(), state), "the global generator stays"
        train(adapted.model)
        ends.append({n: t.clone() for n, t in adapted.save()[0].tensors.items()})
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(t, ends[1][n]) for n, t in ends[0].items())


@pairs
def test_what_is_saved_is_had_again_on_the_same_base(cls: type[Adapter], kind: str) -> None:
    _, adapted = start(cls, kind)
    train(adapted.model)
    saved = adapted.save()
    _, other = start(cls, kind)
    other.load(*saved)
    assert torch.equal(answers(other.model), answers(adapted.model))
    assert saved[1].base == other.save()[1].base
    stranger = attach(example(cls), base(kind, seed=1), given())
    before = answers(stranger.model)
    with pytest.raises(ValueError, match=r"belongs to a base of digest .* Load it into the model"):
        stranger.load(*saved)
    assert torch.equal(answers(stranger.model), before)


@pairs
def test_its_base_can_be_asked_meanwhile(cls: type[Adapter], kind: str) -> None:
    _, adapted = start(cls, kind)
    first = answers(base(kind))
    train(adapted.model)
    now, names = answers(adapted.model), set(trained(adapted.model))
    with adapted.original():
        assert torch.equal(answers(adapted.model), first)
        with adapted.original():
            assert torch.equal(answers(adapted.model), first)
        with pytest.raises(ValueError, match=r"set aside inside of original\(\)\. Leave"):
            adapted.merge()
    assert torch.equal(answers(adapted.model), now)
    assert set(trained(adapted.model)) == names


@pairs
def test_a_second_one_is_refused(cls: type[Adapter], kind: str) -> None:
    model, adapted = start(cls, kind)
    built, now = shape(model), digest(model)
    for second in ADAPTERS:
        with pytest.raises(ValueError, match=rf"{second.__name__} needs a plain model; .* Call"):
            attach(example(second), model, given())
    assert (shape(model), digest(model)) == (built, now)
    adapted.detach()
    for call in (adapted.merge, adapted.detach, adapted.save, adapted.deltas):
        with pytest.raises(ValueError, match=r"was detached already\. Attach it anew\."):
            call()
    attach(example(cls), model, given()).detach()


@pytest.mark.parametrize("cls", ADAPTERS, ids=lambda cls: cls.__name__)
def test_a_model_without_a_body_is_refused(cls: type[Adapter]) -> None:
    empty = Model({}, {}, base("ours").lineage)
    with pytest.raises(ValueError, match=rf"{cls.__name__} adapts the body .* Pretrain one first"):
        attach(example(cls), empty, given())


@pytest.mark.parametrize("pair", UNFIT, ids="-".join)
def test_what_does_not_fit_says_why_and_changes_nothing(pair: tuple[str, str]) -> None:
    cls = next(cls for cls in ADAPTERS if cls.__name__ == pair[0])
    model = base(pair[1])
    built, now = shape(model), digest(model)
    with pytest.raises(ValueError, match=UNFIT[pair]):
        attach(example(cls), model, given())
    assert (shape(model), digest(model)) == (built, now)
    attach(example(ADAPTERS[0]), base("ours"), given())


@pytest.mark.parametrize("cls", ADAPTERS, ids=lambda cls: cls.__name__)
def test_towers_that_share_a_body_share_the_edit(cls: type[Adapter]) -> None:
    one = base("ours")
    body = one.bodies["input"]
    model = Model({"input": body, "text": body}, one.heads, one.lineage)
    adapted = attach(example(cls), model, given())
    alone = attach(example(cls), base("ours"), given())
    assert adapted.count == alone.count
    train(adapted.model)
    train(alone.model)
    assert torch.equal(answers(adapted.model), answers(alone.model))
    plain = adapted.detach()
    assert plain.bodies["input"] is plain.bodies["text"]


@pytest.mark.parametrize("cls", ADAPTERS, ids=lambda cls: cls.__name__)
def test_statistics_of_a_batch_are_put_back_too(cls: type[Adapter]) -> None:
    model = base("ours")
    body: Any = model.bodies["input"]
    body.network.norm = _OverBatch(64).eval()
    before = digest(model)
    adapted = attach(example(cls), model, given())
    train(adapted.model)
    moved = not torch.equal(body.network.norm.norm.running_mean, torch.zeros(64))
    assert moved != example(cls).frozen
    saved, now = adapted.save(), answers(adapted.model)
    with adapted.original():
        answers(adapted.model, train=True)
    assert torch.equal(answers(adapted.model), now)
    assert digest(adapted.detach()) == before
    again = attach(example(cls), model, given())
    again.load(*saved)
    assert torch.equal(answers(again.model), now)


class _OverBatch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.mT).mT
