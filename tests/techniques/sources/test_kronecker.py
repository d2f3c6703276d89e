"""The fast product is the product with the matrix that is not built."""

import pytest
import torch

from vitruvius.techniques.sources.generators import near_identity
from vitruvius.techniques.sources.kronecker import kronecker, kronecker_apply


def drawn(*size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(len(size)), dtype=torch.double)


@pytest.mark.parametrize("c", [1, 2, 4, 8])
def test_the_fast_product_is_the_product(c: int) -> None:
    kernel, template, x = drawn(c, c), drawn(3, 5), drawn(2, 7, c * 5)
    plain = x @ torch.kron(kernel, template).mT
    torch.testing.assert_close(kronecker_apply(kernel, template, x), plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        kronecker_apply(kernel.float(), template.float(), x.float()),
        plain.float(),
        rtol=1e-5,
        atol=1e-5,
    )


def test_kernels_need_not_be_square_and_each_row_may_have_its_template() -> None:
    kernel, templates, x = drawn(2, 3), drawn(4, 3, 5), drawn(4, 7, 15)
    found = kronecker_apply(kernel, templates, x)
    assert found.shape == (4, 7, 6)
    for row in range(4):
        torch.testing.assert_close(found[row], x[row] @ torch.kron(kernel, templates[row]).mT)


def test_leading_axes_of_a_template_stay() -> None:
    kernel, templates = drawn(2, 3), drawn(4, 3, 5)
    found = kronecker(kernel, templates)
    for row in range(4):
        assert torch.equal(found[row], torch.kron(kernel, templates[row]))


def test_near_identity_keeps_the_size_of_a_product() -> None:
    assert torch.equal(near_identity((3, 3)), torch.eye(3))
    assert torch.equal(near_identity((4,)), torch.ones(4))
    assert torch.equal(near_identity((4, 1)), torch.ones(4, 1))
    wide = near_identity((2, 8))
    torch.testing.assert_close(wide.square().sum(1), torch.ones(2))
