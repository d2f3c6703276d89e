"""Every source makes what edits want: in its size, from its start, as many numbers as it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, name, samples
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Fitted, Given, Site, Source, Wanted, Wants
from vitruvius.techniques.sources import Free

SOURCES = catalogue(Source)
WANTS: dict[str, Wants] = {
    f"input.layers.{depth}.query": {
        "a": Wanted(torch.Size([4, 96]), "kaiming"),
        "b": Wanted(torch.Size([96, 4])),
        "gain": Wanted(torch.Size([96]), "one"),
        "core": Wanted(torch.Size([2, 3, 3]), "identity"),
        "tokens": Wanted(torch.Size([5, 96]), "normal"),
    }
    for depth in range(2)
}
SITES = {
    path: Site(path, "linear", "attention.query", depth, "input", {})
    for depth, path in enumerate(WANTS)
}
every = pytest.mark.parametrize("cls", SOURCES, ids=name)


def given(seed: int = 0) -> Given:
    saved = Free().tensors(WANTS, SITES, Given(rng=torch.Generator().manual_seed(9)))
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(1)
    fitted = Fitted({f"adapter.0.{n}": t for n, t in saved.state_dict().items()})
    return Given(rng=torch.Generator().manual_seed(seed), fitted=fitted)


def flat(module: nn.Module) -> dict[str, Tensor]:
    return {f"{path}.{n}": t for path, at in module(None).items() for n, t in at.items()}


@every
def test_it_makes_what_is_wanted_and_counts_it(cls: type[Source]) -> None:
    for source in [example(cls), *samples(cls, 6)]:
        try:
            count = source.count(WANTS, SITES)
        except ValueError as error:  # a drawn dimension may be more than these tensors read
            assert source != example(cls) and "must be at most" in str(error)
            continue
        state = torch.random.get_rng_state()
        module = source.tensors(WANTS, SITES, given())
        assert torch.equal(torch.random.get_rng_state(), state), "the global generator stays"
        assert count == sum(p.numel() for p in module.parameters() if p.requires_grad)
        made = module(None)
        assert made.keys() == WANTS.keys()
        for path, at in WANTS.items():
            assert made[path].keys() == at.keys()
            assert all(made[path][n].shape == wanted.size for n, wanted in at.items())


@every
def test_tensors_start_as_they_are_wanted(cls: type[Source]) -> None:
    source = example(cls)
    for path, at in source.tensors(WANTS, SITES, given())(None).items():
        for n, wanted in WANTS[path].items():
            tensor = at[n]
            if wanted.start == "zero":
                assert bool(tensor.any()) != source.identity
            if wanted.start == "one" and source.identity:
                assert (tensor == 1).all()
            if wanted.start == "identity" and source.identity:
                assert torch.equal(tensor, torch.eye(3).expand(2, 3, 3))
            if wanted.start in ("kaiming", "normal"):
                assert tensor.any()


@every
def test_the_same_seed_gives_the_same_bits_and_a_file_gives_them_again(cls: type[Source]) -> None:
    source = example(cls)
    first, second = (source.tensors(WANTS, SITES, given()) for _ in range(2))
    assert all(torch.equal(t, flat(second)[n]) for n, t in flat(first).items())
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(t, flat(second)[n]) for n, t in flat(first).items())


@every
def test_gradients_reach_all_that_trains(cls: type[Source]) -> None:
    module = example(cls).tensors(WANTS, SITES, given())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    torch.cat([t.flatten() for t in flat(module).values()]).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())
