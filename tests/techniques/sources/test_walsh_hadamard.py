"""The transform is the matrix, and its own inverse but for the length."""

import pytest
import torch
from scipy.linalg import hadamard

from vitruvius.techniques.sources.walsh_hadamard import walsh_hadamard


@pytest.mark.parametrize("n", [1, 2, 8, 64, 128, 2048])
def test_it_is_the_product_with_the_matrix(n: int) -> None:
    rng = torch.Generator().manual_seed(n)
    x = torch.randint(-9, 10, (3, 2, n), generator=rng).double()  # whole numbers: exact
    matrix = torch.from_numpy(hadamard(n)).double()
    assert torch.equal(walsh_hadamard(x), x @ matrix)


@pytest.mark.parametrize("n", [4, 4096])
def test_twice_is_n_times(n: int) -> None:
    x = torch.randint(-9, 10, (2, n), generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(walsh_hadamard(walsh_hadamard(x)), n * x)


def test_its_gradient_is_right() -> None:
    x = torch.randn(2, 128, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    assert torch.autograd.gradcheck(walsh_hadamard, x.requires_grad_())


def test_casts_to_half_precision_leave_it() -> None:
    x = torch.randn(256, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = walsh_hadamard(x)
    assert torch.equal(cast, walsh_hadamard(x))


@pytest.mark.parametrize("n", [0, 3, 12])
def test_other_lengths_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=rf"powers of two; got {n}\. Pad with zeros"):
        walsh_hadamard(torch.zeros(2, n))
