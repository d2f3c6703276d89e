"""One short vector moves all tensors, and trains exactly as many numbers as it says."""

import statistics

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Wanted, Wants
from vitruvius.techniques.sources import Projected

WANTS: dict[str, Wants] = {
    "first": {"delta": Wanted(torch.Size([12, 30]))},
    "second": {
        "a": Wanted(torch.Size([4, 30]), "kaiming"),
        "b": Wanted(torch.Size([30, 4])),
        "scale": Wanted(torch.Size([]), "one"),
    },
    "third": {"bias": Wanted(torch.Size([7]))},
}
EVERY = [
    Projected(40, kind, structure, scope)
    for kind in ("fastfood", "dense", "sparse")
    for structure in ("none", "tensor")
    for scope in ("tensor", "global")
]
every = pytest.mark.parametrize("source", EVERY, ids=repr)


def made(source: Projected, seed: int = 0) -> nn.Module:
    return source.tensors(WANTS, {}, Given(rng=torch.Generator().manual_seed(seed)))


def flat(found: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{path}.{name}": t for path, at in found.items() for name, t in at.items()}


def moved(module: nn.Module) -> dict[str, Tensor]:
    with torch.no_grad():
        module.get_parameter("theta").normal_(generator=torch.Generator().manual_seed(9))
    return flat(module(None))


@every
def test_it_trains_exactly_its_dimension(source: Projected) -> None:
    assert sum(p.numel() for p in made(source).parameters()) == source.dimension
    assert source.count(WANTS, {}) == source.dimension


@every
def test_tensors_start_as_they_are_wanted_and_all_move(source: Projected) -> None:
    module = made(source)
    before = flat(module(None))
    for path, at in WANTS.items():
        for name, wanted in at.items():
            tensor = before[f"{path}.{name}"]
            assert tensor.shape == wanted.size
            assert bool(tensor.any()) == (wanted.start != "zero")
    assert before["second.scale"] == 1
    assert before["second.a"].abs().max() <= 30**-0.5
    after = moved(module)
    assert all(not torch.equal(tensor, after[name]) for name, tensor in before.items())


@every
def test_seed_and_vector_are_enough_to_have_it_again(source: Projected) -> None:
    module = made(source)
    after = moved(module)
    saved = module.state_dict()
    assert sum(t.numel() for t in saved.values()) == source.dimension + 2
    again = made(source)
    again.load_state_dict(saved)
    assert all(torch.equal(t, after[name]) for name, t in flat(again(None)).items())
    other = made(source, seed=1)
    assert not torch.equal(other.get_buffer("drawn"), module.get_buffer("drawn"))


def test_scales_stretch_their_tensor_alone_and_get_a_gradient() -> None:
    module = made(Projected(40, structure="tensor"))
    before = moved(module)
    with torch.no_grad():
        module.get_parameter("scales")[0] = 3
    after = flat(module(None))
    torch.testing.assert_close(after["first.delta"], 3 * before["first.delta"])
    assert all(torch.equal(before[n], after[n]) for n in before if n != "first.delta")
    torch.cat([t.flatten() for t in after.values()]).square().sum().backward()
    assert all(p.grad is not None and p.grad.all() for p in module.parameters())


def test_of_its_own_each_tensor_moves_as_far_and_together_as_far_as_its_size() -> None:
    def ratio(scope: str) -> float:
        """By how much less the small tensor moves than the large one, over 50 maps."""
        found = []
        for seed in range(50):
            after = moved(made(Projected(6, scope=scope), seed))
            small, large = (after[name].detach() for name in ("third.bias", "first.delta"))
            found.append(float(small.norm() / large.norm()))
        return statistics.mean(found)

    assert ratio("tensor") == pytest.approx(1, abs=0.15)
    assert ratio("global") == pytest.approx((7 / 360) ** 0.5, rel=0.15)


def test_scales_need_more_numbers_than_tensors() -> None:
    with pytest.raises(ValueError, match=r"The 5 scales .* at most .*dimension - 1, which is 4\. "):
        made(Projected(5, structure="tensor"))
    assert made(Projected(6, structure="tensor")).get_parameter("theta").shape == (1,)


def test_more_numbers_than_the_tensors_read_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be at most 512, .* got 513\. Take fewer"):
        made(Projected(513))
    with pytest.raises(ValueError, match=r"must be at most 608, .* got 609\. Take fewer"):
        Projected(609, scope="global").count(WANTS, {})


def test_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Projected\.dimension must be at least 1; got 0\."):
        Projected(0)


@pytest.mark.parametrize("name", ["projection", "structure", "scope"])
def test_unknown_words_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Projected\.{name} is one of \w+, .*; got 'other'\."):
        Projected().replace(**{name: "other"})
