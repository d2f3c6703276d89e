"""Every compressor on every kind of base: as small as it says, and what is left is right."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import config
from torch import Tensor

from tests.contracts.bases import BASES, answers, base, batch_for, given, train
from tests.contracts.common import example, samples
from tests.contracts.test_adapters import check_packed, digest, shape
from tests.contracts.test_storing import through
from vitruvius.catalogue import catalogue
from vitruvius.contracts import (
    Compressed,
    Compressor,
    Given,
    Lineage,
    Model,
    Optimizer,
    base_parameters,
)
from vitruvius.space import hyperparameters
from vitruvius.techniques.adapters import FullTuning, LowRank
from vitruvius.techniques.compressors.importance import RULES
from vitruvius.techniques.optimizers import SOAP, AdamW, Muon
from vitruvius.train.adapting import attach

COMPRESSORS = catalogue(Compressor)
PAIRS = [(cls, kind) for cls in COMPRESSORS for kind in BASES]
every = pytest.mark.parametrize("cls", COMPRESSORS, ids=lambda cls: cls.__name__)
pairs = pytest.mark.parametrize(
    ("cls", "kind"), PAIRS, ids=[f"{cls.__name__}-{kind}" for cls, kind in PAIRS]
)


def half(cls: type[Compressor]) -> Compressor:
    """One that takes half of what it may, by the weights alone: it always has something to take."""
    return example(cls).replace(share=0.5, importance="weight")


def after_a_task(kind: str) -> Given:
    """What a training has changed, for those that go by it."""
    adapted = attach(LowRank(2), base(kind), given())
    train(adapted.model)
    return given().but(adapted=adapted)


def expected(kind: str, made: Compressed) -> Model:
    """The whole model with zeros where entries are gone, or are not read any more."""
    model, structure = base(kind), made.structure
    parameters = base_parameters(model)
    with torch.no_grad():
        for name, mask in structure.masks.items():
            parameters[name].mul_(mask)
        for name, axis in structure.axes.items():
            gone = torch.ones(parameters[name].shape[axis], dtype=torch.bool)
            gone[structure.kept[name]] = False
            parameters[name].index_fill_(axis, gone.nonzero().flatten(), 0)
    return model


def left(name: str, tensor: Tensor, made: Compressed) -> Tensor:
    """What the structure says is left of a tensor."""
    structure = made.structure
    if name in structure.kept:
        tensor = tensor.index_select(structure.axes.get(name, 0), structure.kept[name])
    return tensor * structure.masks[name] if name in structure.masks else tensor


@pairs
def test_the_model_is_what_the_structure_says(cls: type[Compressor], kind: str) -> None:
    model, whole = base(kind), after_a_task(kind)
    before, built, first = digest(model), shape(model), answers(model)
    for compressor in (half(cls), *samples(cls, 3)):
        state = torch.random.get_rng_state()
        made = compressor.compress(model, whole)
        assert torch.equal(torch.random.get_rng_state(), state), "the global generator stays"
        assert (digest(model), shape(model)) == (before, built), "the one given stays as it is"
        assert torch.equal(answers(model), first)
        structure = made.structure
        assert structure.axes.keys() <= structure.kept.keys()
        old, new = base_parameters(model), base_parameters(made.model)
        assert list(old) == list(new)
        assert structure.kept.keys() | structure.masks.keys() <= old.keys()
        for name, places in structure.kept.items():
            assert torch.equal(places, places.unique()), "in order, each once"
            assert 0 < len(places) <= old[name].shape[structure.axes.get(name, 0)]
        for name, mask in structure.masks.items():
            assert mask.dtype == torch.bool and mask.shape == new[name].shape
        for name, parameter in new.items():
            assert torch.equal(parameter, left(name, old[name], made)), name
            assert parameter is not old[name]
            assert parameter.requires_grad == old[name].requires_grad
        ours, theirs = (m.bodies["input"].named_buffers() for m in (model, made.model))
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True))
        modes = [[p.training for p in m.bodies["input"].modules()] for m in (model, made.model)]
        assert modes[0] == modes[1]


@pairs
def test_it_answers_as_if_what_is_gone_were_zero(cls: type[Compressor], kind: str) -> None:
    made = half(cls).compress(base(kind), given())
    now = answers(made.model)
    torch.testing.assert_close(now, answers(expected(kind, made)), rtol=1e-5, atol=1e-5)
    assert not torch.equal(now, answers(base(kind)))
    with torch.autocast("cpu", torch.bfloat16):
        near = answers(made.model).float()
    assert (near - now).norm() <= 2e-2 * now.norm()
    if kind != "vit":
        check_packed(made.model)


@pairs
def test_it_is_smaller_exactly(cls: type[Compressor], kind: str) -> None:
    old = base_parameters(base(kind))
    made = half(cls).compress(base(kind), given())
    new, structure = base_parameters(made.model), made.structure
    gone = sum(p.numel() - new[name].numel() for name, p in old.items())
    zero = sum(int((~mask).sum()) for mask in structure.masks.values())
    assert gone + zero > 0
    for name, places in structure.kept.items():
        axis = structure.axes.get(name, 0)
        rest = old[name].numel() // old[name].shape[axis]
        assert new[name].numel() == rest * len(places) < old[name].numel()
    if structure.masks:
        assert zero == round(0.5 * sum(mask.numel() for mask in structure.masks.values()))
        assert zero <= sum(int((new[name] == 0).sum()) for name in structure.masks)


@pairs
def test_the_same_again_gives_the_same_bits(cls: type[Compressor], kind: str) -> None:
    asked = after_a_task(kind)
    for rule in RULES:
        compressor = half(cls).replace(importance=rule)
        one, two = (compressor.compress(base(kind), asked.but(rng=given().rng)) for _ in range(2))
        for field in ("masks", "kept"):
            ours, theirs = getattr(one.structure, field), getattr(two.structure, field)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
        assert digest(one.model) == digest(two.model)
    drawn = half(cls).replace(importance="random")
    seeds = {digest(drawn.compress(base(kind), given(seed)).model) for seed in range(4)}
    assert len(seeds) > 1, "the generator decides what is drawn"


@pairs
def test_it_is_stored_and_copied(cls: type[Compressor], kind: str, tmp_path: Path) -> None:
    made = half(cls).compress(base(kind), given()).model
    now = answers(made)
    read = through(tmp_path, made)
    assert digest(read) == digest(made) and torch.equal(answers(read), now)
    twin = replace(made, bodies=copy.deepcopy(dict(made.bodies)))
    assert torch.equal(answers(twin), now)
    again = half(cls).compress(read, given()).model  # and once more smaller
    other = half(cls).compress(made, given()).model
    assert torch.equal(answers(again), answers(other))
    assert torch.equal(answers(through(tmp_path / "again", again)), answers(again))


@pairs
@pytest.mark.parametrize("adapter", [LowRank(2), FullTuning()], ids=lambda one: type(one).__name__)
def test_what_was_learned_follows(
    cls: type[Compressor], kind: str, adapter: LowRank | FullTuning
) -> None:
    adapted = attach(adapter, base(kind), given())
    train(adapted.model)
    deltas = adapted.deltas()
    asked = given().but(adapted=adapted)
    made = half(cls).replace(importance="both").compress(base(kind), asked)
    less = adapted.restrict(made.structure, made.model)
    for name, delta in less.deltas().items():
        torch.testing.assert_close(delta, left(name, deltas[name], made), rtol=1e-5, atol=1e-6)
    before = answers(less.model)
    train(less.model)
    after = answers(less.model)
    assert not torch.equal(after, before)
    plain = less.merge()
    torch.testing.assert_close(answers(plain), after, rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize(
    "optimizer", [AdamW(0.01, 0.1), Muon(), SOAP()], ids=lambda one: type(one).__name__
)
def test_what_is_zero_stays_zero_in_training(cls: type[Compressor], optimizer: Optimizer) -> None:
    adapted = attach(FullTuning(), base("bert"), given())
    made = half(cls).compress(base("bert"), given())
    less = adapted.restrict(made.structure, made.model)
    before = answers(less.model)
    train(less.model, optimizer, steps=4)
    assert not torch.equal(answers(less.model), before)
    now = base_parameters(less.merge())
    for name, mask in made.structure.masks.items():
        assert not now[name][~mask].any()
    for name, places in made.structure.kept.items():
        assert now[name].shape[made.structure.axes.get(name, 0)] == len(places)


@every
def test_towers_that_share_a_body_share_what_is_left(cls: type[Compressor]) -> None:
    one = base("bert")
    body = one.bodies["input"]
    model = Model({"input": body, "text": body}, one.heads, one.lineage)
    made = half(cls).compress(model, given()).model
    assert made.bodies["input"] is made.bodies["text"] is not body
    alone = half(cls).compress(base("bert"), given()).model
    assert torch.equal(answers(made), answers(alone))


@every
def test_what_it_cannot_take_is_refused_in_one_line(cls: type[Compressor]) -> None:
    name = cls.__name__
    adapted = attach(LowRank(), base("ours"), given())
    built = shape(adapted.model)
    with pytest.raises(ValueError, match=r"pruned without its adapter; .* Give the plain base"):
        half(cls).compress(adapted.model, given())
    assert shape(adapted.model) == built
    for empty in (Model({}, {}, Lineage("x")), Model({"input": torch.nn.ReLU()}, {}, Lineage("x"))):
        with pytest.raises(ValueError, match=rf"{name} .*no body here has one") as raised:
            half(cls).compress(empty, given())
        assert "\n" not in str(raised.value)
    for rule in ("change", "both"):
        with pytest.raises(ValueError, match=rf"by '{rule}' needs .* give adapted") as raised:
            half(cls).replace(importance=rule).compress(base("ours"), given())
        assert "\n" not in str(raised.value)


@every
def test_fields_that_do_not_fit(cls: type[Compressor]) -> None:
    assert {h.name for h in hyperparameters(cls)} >= {"share", "importance"}
    for field, value in (("share", 0.0), ("share", 1.0), ("share", -1.0), ("importance", "x")):
        with pytest.raises(ValueError) as raised:
            half(cls).replace(**{field: value})
        told = str(raised.value)
        assert re.fullmatch(rf"{cls.__name__}\.{field} must be .*; got {value!r}\.", told)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the checks of shapes that tests switch on: their own code cannot be traced."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.compiling
@pytest.mark.usefixtures("unchecked")
@pairs
def test_it_compiles(cls: type[Compressor], kind: str) -> None:
    made = half(cls).compress(base(kind), given()).model
    torch._dynamo.reset()
    body = torch.compile(made.bodies["input"].eval(), backend="aot_eager")
    with torch.no_grad():
        found = body(batch_for(made).streams["input"]).hidden
    torch.testing.assert_close(found, answers(made), rtol=1e-5, atol=1e-5)
