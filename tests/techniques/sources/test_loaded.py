"""What another run has trained is had again, in whatever size."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import Fitted, Given, Wanted, Wants
from vitruvius.techniques.sources import Free, Loaded
from vitruvius.techniques.sources.loaded import RULES, cut

PATH = "input.layers.0.query"


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(rank: int) -> dict[str, Wants]:
    a, b = Wanted(torch.Size([rank, 6]), "kaiming"), Wanted(torch.Size([9, rank]))
    return {PATH: {"a": a, "b": b}}


def prompts(length: int) -> dict[str, Wants]:
    return {PATH: {"tokens": Wanted(torch.Size([length, 5]), "normal")}}


def trained(wants: dict[str, Wants]) -> Fitted:
    """As an adapter saves it after training."""
    module = Free().tensors(wants, {}, Given(rng=rng(1)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng(2)))
    return Fitted({f"adapter.0.{name}": t for name, t in module.state_dict().items()})


def loaded(rule: str, wants: dict[str, Wants], saved: Fitted) -> dict[str, Tensor]:
    return module_of(rule, wants, saved)(None)[PATH]


def module_of(rule: str, wants: dict[str, Wants], saved: Fitted) -> nn.Module:
    return Loaded(rule).tensors(wants, {}, Given(rng=rng(3), fitted=saved))


def before(saved: Fitted, name: str) -> Tensor:
    return saved.tensors[f"adapter.0.{PATH.replace('.', '/')}/{name}"]


@pytest.mark.parametrize("rule", ["copy", "tile", "svd"])
def test_of_the_same_size_it_is_the_same_and_trains_on(rule: str) -> None:
    saved = trained(pair(3))
    module = module_of(rule, pair(3), saved)
    found = module(None)[PATH]
    for name in ("a", "b"):
        assert torch.equal(found[name], before(saved, name))
    assert sum(p.numel() for p in module.parameters()) == Loaded().count(pair(3), {}) == 45
    with torch.no_grad():
        found["a"].zero_()
    assert before(saved, "a").any(), "what was saved is not what trains"


@pytest.mark.parametrize("length", [2, 4, 9])
def test_prompts_of_another_length(length: int) -> None:
    saved = trained(prompts(4))
    old = before(saved, "tokens")
    tiled = loaded("tile", prompts(length), saved)["tokens"]
    assert all(torch.equal(row, old[number % 4]) for number, row in enumerate(tiled))
    copied = loaded("copy", prompts(length), saved)["tokens"]
    assert torch.equal(copied[:4], old[:length])
    assert not torch.isin(copied[4:], old).any()
    means = loaded("mean", prompts(length), saved)["tokens"]
    assert means.shape == (length, 5)
    assert all(torch.equal(row, old.mean(0)) for row in means)


@pytest.mark.parametrize("rank", [3, 4, 6])
def test_a_pair_of_no_smaller_rank_has_the_same_product(rank: int) -> None:
    saved = trained(pair(3))
    product = before(saved, "b") @ before(saved, "a")
    found = loaded("svd", pair(rank), saved)
    torch.testing.assert_close(found["b"] @ found["a"], product, rtol=1e-5, atol=1e-5)
    found = loaded("copy", pair(rank), saved)  # b is wanted as zero beyond what was saved
    torch.testing.assert_close(found["b"] @ found["a"], product, rtol=1e-5, atol=1e-5)


def test_a_pair_of_smaller_rank_is_the_nearest() -> None:
    saved = trained(pair(3))
    product = before(saved, "b") @ before(saved, "a")
    found = loaded("svd", pair(2), saved)
    values = torch.linalg.svdvals(product)
    error = (found["b"] @ found["a"] - product).norm()
    torch.testing.assert_close(error, values[2:].norm(), rtol=1e-4, atol=1e-5)
    balanced = found["b"].norm(dim=0), found["a"].norm(dim=1)
    torch.testing.assert_close(*balanced)


def test_cutting_beyond_the_matrix_leaves_zeros() -> None:
    up, down = torch.randn(2, 4, generator=rng()), torch.randn(4, 3, generator=rng())
    new_up, new_down = cut(up, down, 7)
    assert (new_up.shape, new_down.shape) == ((2, 7), (7, 3))
    assert not new_up[:, 2:].any() and not new_down[2:].any()
    torch.testing.assert_close(new_up @ new_down, up @ down)


def test_what_was_not_saved_is_named() -> None:
    saved = trained(prompts(4))
    with pytest.raises(
        ValueError, match=r"needs one tensor input/layers/0/query/a .* are 0 .*Free"
    ):
        loaded("copy", pair(3), saved)
    tokens = before(saved, "tokens")
    name = "input/layers/0/query/tokens"
    twice = Fitted({f"adapter.{number}.{name}": tokens for number in (0, 1)})
    with pytest.raises(ValueError, match=r"query/tokens in what was saved; there are 2"):
        loaded("copy", prompts(4), twice)


def test_other_axes_are_refused() -> None:
    wants: Any = {PATH: {"tokens": Wanted(torch.Size([5]))}}
    with pytest.raises(
        ValueError, match=r"tokens was saved with 2 and is wanted with 1\. Take the"
    ):
        loaded("copy", wants, trained(prompts(4)))


def test_unknown_rules_are_refused() -> None:
    assert [Loaded(rule).rule for rule in RULES] == list(RULES)
    with pytest.raises(ValueError, match=r"Loaded\.rule is one of copy, .*; got 'other'\."):
        Loaded("other")
