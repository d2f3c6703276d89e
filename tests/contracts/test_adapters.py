"""Every adapter on every kind of base: the same at the start, trained alone, and undone whole."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import config
from torch import Tensor, nn

from tests.contracts.bases import BASES, answers, base, batch, batch_for, given, train
from tests.contracts.common import example, samples
from tests.contracts.layouts import layout_of
from tests.contracts.test_storing import through
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Adapted, Adapter, Model, Reader, Stream, base_parameters
from vitruvius.interop.peft import LoRA
from vitruvius.interop.peft_methods import METHODS
from vitruvius.techniques.adapters import Bottleneck, LowRank, Prefix
from vitruvius.train.adapting import attach
from vitruvius.train.attached import attached_to
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.grouping import group_parameters

pytest.importorskip("peft")
ADAPTERS: tuple[type[Adapter], ...] = (*catalogue(Adapter), LoRA, *METHODS)
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


def still(cls: type[Adapter]) -> bool:
    """Whether the base stays in evaluation: it is frozen, or only read."""
    parts = example(cls).parts()
    only_read = bool(parts) and all(isinstance(part.edit, Reader) for part in parts)
    return example(cls).frozen or only_read


def start(cls: type[Adapter], kind: str) -> tuple[Model, Adapted]:
    model = base(kind)
    return model, attach(example(cls), model, given())


@pairs
def test_it_is_the_base_then_learns_and_gives_the_base_back(cls: type[Adapter], kind: str) -> None:
    model = base(kind)
    before, built, first = digest(model), shape(model), answers(model)
    dropped = answers(model, train=True)
    adapted = attach(example(cls), model, given())
    assert isinstance(adapted, Adapted)
    # at the start
    assert torch.equal(answers(model), first) == example(cls).identity
    changed = any(delta.any() for delta in adapted.deltas().values())
    assert not (changed and example(cls).identity)
    if example(cls).identity:
        same = torch.equal(answers(model, train=True), first)
        assert same == (still(cls) or torch.equal(dropped, first)), "only what is still drops none"
    # what trains
    check_trained(adapted, example(cls))
    head = {n: p.detach().clone() for n, p in model.heads["task"].named_parameters()}
    begun, names = answers(model), set(trained(model))
    train(model)
    now = answers(model)
    assert torch.equal(now, begun) == example(cls).frozen
    changed = any(delta.any() for delta in adapted.deltas().values())
    assert not (changed and example(cls).frozen)
    assert all(not torch.equal(head[n], p) for n, p in model.heads["task"].named_parameters())
    # precision, and documents in one row
    with torch.autocast("cpu", torch.bfloat16):
        near = answers(model).float()
    assert (near - now).norm() <= 2e-2 * now.norm()
    if kind != "vit":  # images are not packed
        check_packed(model)
    # its base meanwhile
    with adapted.original():
        assert torch.equal(answers(model), first)
        with adapted.original():
            assert torch.equal(answers(model), first)
        with pytest.raises(ValueError, match=r"set aside inside of original\(\)\. Leave"):
            adapted.merge()
    assert torch.equal(answers(model), now) and set(trained(model)) == names
    # and its end
    plain = adapted.detach()
    assert digest(plain) == before and shape(plain) == built
    assert torch.equal(answers(plain), first)
    for call in (adapted.merge, adapted.detach, adapted.save, adapted.deltas):
        with pytest.raises(ValueError, match=r"was detached already\. Attach it anew\."):
            call()
    attach(example(cls), model, given()).detach()


def check_trained(adapted: Adapted, adapter: Adapter) -> None:
    """All that trains is counted, found by the optimizer and has a gradient; nothing else has."""
    body = adapted.model.bodies["input"]
    assert adapted.count == sum(p.numel() for p in trained(adapted.model).values())
    assert (adapted.count == 0) == adapter.frozen
    names = {name for group in group_parameters(body) for name in group.names}
    assert names == set(trained(adapted.model))
    train(adapted.model, steps=1)
    assert all(p.grad is not None for p in trained(adapted.model).values())
    assert all(p.grad is None for p in body.parameters() if not p.requires_grad)


def check_packed(model: Model) -> None:
    """Three documents in one row are answered as each alone."""
    body, lengths = model.bodies["input"].eval(), (9, 4, 7)
    alone = batch(lengths).streams["input"]
    ids = torch.cat([row[:n] for row, n in zip(alone.values, lengths, strict=True)])[None]
    together = Stream(ids, layout_of([list(lengths)]))
    with torch.no_grad():
        apart, packed = body(alone).hidden, body(together).hidden
    rows = torch.cat([row[:n] for row, n in zip(apart, lengths, strict=True)])[None]
    torch.testing.assert_close(packed, rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["ours", "bert"])
@pytest.mark.parametrize("cls", ADAPTERS, ids=lambda cls: cls.__name__)
def test_designs_from_all_over_its_space_are_counted(cls: type[Adapter], kind: str) -> None:
    for adapter in samples(cls, 4):
        try:
            adapted = attach(adapter, base(kind), given())
        except ValueError as error:  # a drawn rank or depth may exceed so small a base
            assert re.search("must be at most|must allow the smallest", str(error))
            continue
        check_trained(adapted, adapter)


@pairs
def test_it_is_saved_stored_and_copied(cls: type[Adapter], kind: str, tmp_path: Path) -> None:
    ends, state = [], torch.random.get_rng_state()
    for _ in range(2):
        model, adapted = start(cls, kind)
        assert torch.equal(torch.random.get_rng_state(), state), "the global generator stays"
        train(model)
        ends.append((model, adapted, adapted.save()))
    (model, adapted, saved), (_, other, again) = ends
    assert saved[0].tensors.keys() == again[0].tensors.keys()
    assert all(torch.equal(t, again[0].tensors[n]) for n, t in saved[0].tensors.items())
    # into another on the same base, and not on another
    now = answers(model)
    other.detach()
    fresh = attach(example(cls), other.model, given())
    fresh.load(*saved)
    assert torch.equal(answers(fresh.model), now)
    assert saved[1].base == fresh.save()[1].base
    stranger = attach(example(cls), base(kind, seed=1), given())
    before = answers(stranger.model)
    with pytest.raises(ValueError, match=r"belongs to a base of digest .* Load it into the model"):
        stranger.load(*saved)
    assert torch.equal(answers(stranger.model), before)
    # with its edits
    read = through(tmp_path, model)
    assert torch.equal(answers(read), now) and torch.equal(answers(model), now)
    twin = replace(model, bodies=copy.deepcopy(dict(model.bodies)))
    adapted.detach()
    assert torch.equal(answers(twin), now)
    there = attached_to(read.bodies["input"])
    assert there is not None
    there.detach()
    assert digest(read) == digest(base(kind))


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
def test_it_is_merged_unmerged_and_merged(cls: type[Adapter], kind: str, tmp_path: Path) -> None:
    model = base(kind)
    built, first = shape(model), base_parameters(base(kind))
    adapted = attach(example(cls), model, given())
    train(model)
    before, names, deltas = answers(model), set(trained(model)), adapted.deltas()
    with pytest.raises(ValueError, match=r"was not merged with keep=True.* Attach it anew, or"):
        adapted.unmerge()
    if merged(adapted, keep=True) is None:
        return
    with pytest.raises(ValueError, match=r"is merged into its base\. Call unmerge\(\) first\."):
        adapted.save()
    torch.testing.assert_close(answers(model), before, rtol=1e-5, atol=1e-5)
    assert torch.equal(answers(adapted.unmerge()), before)
    assert set(trained(model)) == names
    with adapted.original():
        assert torch.equal(answers(model), answers(base(kind)))
    plain = adapted.merge()
    torch.testing.assert_close(answers(plain), before, rtol=1e-5, atol=1e-5)
    assert shape(plain) == built
    for name, parameter in base_parameters(plain).items():
        change = deltas.get(name, torch.zeros(()))
        torch.testing.assert_close(parameter, first[name] + change, rtol=1e-5, atol=1e-6)
    assert torch.equal(answers(through(tmp_path, plain)), answers(plain))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the checks of shapes that tests switch on: their own code cannot be traced."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.compiling
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should")  # by dynamo
@pytest.mark.usefixtures("unchecked")
@pairs
def test_it_compiles(cls: type[Adapter], kind: str) -> None:
    compiled(cls, kind, "aot_eager")


@pytest.mark.compiling
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # within torch itself
@pytest.mark.usefixtures("unchecked")
@pytest.mark.skipif(shutil.which("g++") is None, reason="the default back end needs a C++ compiler")
@pytest.mark.parametrize("cls", [LowRank, Bottleneck, Prefix], ids=lambda cls: cls.__name__)
def test_it_compiles_by_the_default_back_end(cls: type[Adapter]) -> None:
    compiled(cls, "ours", "inductor")


def compiled(cls: type[Adapter], kind: str, backend: str) -> None:
    """A compiled body answers as it did, and what trains has gradients."""
    _, adapted = start(cls, kind)
    train(adapted.model)
    torch._dynamo.reset()
    body = torch.compile(adapted.model.bodies["input"].eval(), backend=backend)
    stream = batch_for(adapted.model).streams["input"]
    with torch.no_grad():
        torch.testing.assert_close(
            body(stream).hidden, answers(adapted.model), rtol=1e-5, atol=1e-5
        )
    hidden = body(stream).hidden
    if hidden.requires_grad:
        hidden.square().mean().backward()
        assert all(p.grad is not None for p in trained(adapted.model).values())


@pytest.mark.parametrize("cls", ADAPTERS, ids=lambda cls: cls.__name__)
def test_a_second_one_is_refused(cls: type[Adapter]) -> None:
    model, _ = start(cls, "ours")
    built, now = shape(model), digest(model)
    for second in ADAPTERS:
        with pytest.raises(ValueError, match=rf"{second.__name__} needs a plain model; .* Call"):
            attach(example(second), model, given())
    assert (shape(model), digest(model)) == (built, now)


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
    assert moved != still(cls)
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
