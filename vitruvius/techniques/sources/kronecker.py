"""Products with Kronecker products.

Source: Van Loan 2000, "The ubiquitous Kronecker product", Journal of Computational and Applied
Mathematics 123, section 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def kronecker(kernel: Tensor, template: Tensor) -> Tensor:
    """Kernel (x) template, of any equal number of axes; the template may have leading axes more.

    Block i of the result is kernel[i] times the template.
    """
    extra = template.ndim - kernel.ndim
    return torch.kron(kernel[(None,) * extra], template)


def kronecker_apply(
    kernel: Float[Tensor, "rows columns"],
    template: Float[Tensor, "*tasks n d"],
    x: Float[Tensor, "*lead columns*d"],
) -> Float[Tensor, "*lead rows*n"]:
    """(kernel (x) template) x along the last axis, without the product of the matrices.

    With X = x as [columns d] it is kernel X template'. Takes columns d n + rows columns n
    multiplications for each x in place of rows columns n d. A template of each task goes with x of
    as many leading axes, the tasks first.
    """
    columns, (n, d) = kernel.shape[1], template.shape[-2:]
    blocks = x.unflatten(-1, (columns, d))
    lead = template.shape[:-2]
    between = (1,) * (blocks.ndim - 2 - len(lead))
    inner = blocks @ template.mT.reshape(*lead, *between, d, n)
    return (kernel @ inner).flatten(-2)
