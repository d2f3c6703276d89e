"""Maps to tensors: linear, right in their gradient, and of the length that was put in."""

import statistics

import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from vitruvius.techniques.sources.projections import KINDS, Fastfood, projection


def drawn(n: int, seed: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(1000 + seed))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [7, 64, 1000, 2304])
def test_each_tensor_has_the_length_of_the_vector(kind: str, n: int) -> None:
    seeds, d = (1000 if n == 7 else 50), 5 if n == 7 else 50
    ratios = []
    for seed in range(seeds):
        v = drawn(d, seed)
        other, found = projection(kind, d, (33, n), rng(seed))(v)
        assert len(other) == 33
        ratios.append(float(found.square().sum() / v.square().sum()))
    assert statistics.mean(ratios) == pytest.approx(1, abs=0.1)


def test_of_a_vector_that_is_longer_than_a_tensor_only_its_begin_is_read() -> None:
    many = projection("fastfood", 50, (7, 100), rng())
    v = drawn(50, 0)
    changed = v.clone()
    changed[8:] += 1
    (small, large), (small_too, large_too) = many(v), many(changed)
    assert torch.equal(small, small_too)
    assert not torch.equal(large, large_too)


def test_fastfood_is_its_formula() -> None:
    d, n, length = 6, 20, 32
    source = Fastfood(d, (n,), rng(3))
    again = rng(3)  # in the order in which the formula is drawn
    signs = torch.randint(2, (8,), generator=again, dtype=torch.int8).double() * 2 - 1
    order = torch.randperm(length, generator=again)
    g = torch.randn(length, generator=again).double()
    h = torch.from_numpy(hadamard(length)).double()
    v = drawn(d, 0).double()
    y = torch.zeros(length).double()
    y[:d] = signs[:d] * v
    z = h @ (g * (h @ y)[order])
    divisor = (length * g.square().sum()).sqrt() * (n / length) ** 0.5
    torch.testing.assert_close(
        source(v.float())[0].double(), (z / divisor)[:n], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind: str) -> None:
    maps = projection(kind, 5, (7, 3, 20), rng()).double()
    v = drawn(5, 0).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: tuple(maps(v)), v)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_linear_and_zero_stays_zero(kind: str) -> None:
    maps = projection(kind, 9, (40, 3), rng()).double()
    a, b = drawn(9, 0).double(), drawn(9, 1).double()
    for x, y, z in zip(maps(a), maps(b), maps(2 * a - b), strict=True):
        torch.testing.assert_close(2 * x - y, z)
    assert not any(ray.any() for ray in maps(torch.zeros(9).double()))


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_one_size_move_apart_and_the_seed_decides(kind: str) -> None:
    v = drawn(9, 0)
    one, two = projection(kind, 9, (40, 40), rng())(v)
    assert not torch.allclose(one, two)
    assert torch.equal(one, projection(kind, 9, (40, 40), rng())(v)[0])
    assert not torch.equal(one, projection(kind, 9, (40, 40), rng(1))(v)[0])


def test_the_maps_are_in_no_file() -> None:
    for kind in KINDS:
        assert not projection(kind, 9, (40, 40), rng()).state_dict()


def test_a_large_dense_map_is_refused() -> None:
    with pytest.raises(ValueError, match=r'must be at most of .* entries; .*\. Take "fastfood"'):
        projection("dense", 10_000, (100_000,), rng())
