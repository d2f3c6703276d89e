"""Tucker decompositions: exact where they can be, never further off than HOSVD promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitruvius.techniques.adapters.decomposed import decomposed, leading
from vitruvius.techniques.adapters.tucker import product


def numbers(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("sizes", [(8, 6), (8, 6, 3), (8, 6, 3, 2), (12, 1, 1, 1)])
def test_with_whole_ranks_it_is_the_tensor(sizes: tuple[int, ...]) -> None:
    tensor = numbers(*sizes)
    core, factors = decomposed(tensor, sizes)
    torch.testing.assert_close(product(core, factors), tensor)
    for factor in factors:
        torch.testing.assert_close(factor.mT @ factor, torch.eye(len(factor)).double())


def test_a_tensor_of_these_ranks_is_found() -> None:
    ranks = (3, 2, 2, 1)
    factors = [numbers(size, rank) for size, rank in zip((8, 6, 3, 3), ranks, strict=True)]
    tensor = product(numbers(*ranks), factors)
    torch.testing.assert_close(product(*decomposed(tensor, ranks)), tensor)


def test_of_a_matrix_it_is_the_truncated_svd() -> None:
    matrix = numbers(8, 6)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    nearest = left[:, :2] * values[:2] @ right[:2]
    torch.testing.assert_close(product(*decomposed(matrix, (2, 2))), nearest)
    torch.testing.assert_close(product(*decomposed(matrix, (2, 2), 3)), nearest)


def test_rounds_bring_it_nearer_and_never_leave_the_bound() -> None:
    tensor, ranks = numbers(9, 8, 3, 3), (3, 3, 2, 2)
    errors = [
        float((tensor - product(*decomposed(tensor, ranks, rounds))).norm())
        for rounds in (0, 1, 2, 20)
    ]
    assert errors[0] > errors[1] >= errors[2] >= errors[3]
    dropped = sum(  # of each unfolding: what its own factor alone would leave out
        float(torch.linalg.svdvals(tensor.movedim(axis, 0).flatten(1))[rank:].square().sum())
        for axis, rank in enumerate(ranks)
    )
    assert errors[0] <= dropped**0.5


def test_factors_are_complete_where_an_unfolding_is_thin() -> None:
    factor = leading(numbers(5, 2), 0, 4)
    assert factor.shape == (5, 4)
    torch.testing.assert_close(factor.mT @ factor, torch.eye(4).double())
