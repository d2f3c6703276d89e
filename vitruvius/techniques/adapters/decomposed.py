"""The Tucker decomposition of a tensor: factors that hold most of it, and the core between them.

Source: De Lathauwer, De Moor & Vandewalle 2000, "A multilinear singular value decomposition", SIAM
Journal on Matrix Analysis 21(4), section 3 (HOSVD); the same, "On the best rank-1 and rank-(R1, R2,
..., RN) approximation of higher-order tensors", section 4.2 (orthogonal iteration, HOOI).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def decomposed(
    tensor: Tensor, ranks: Sequence[int], rounds: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """Core [r_1 ... r_n] and factors [d_i r_i] with orthonormal columns, r_i at most d_i.

    The factors are the leading singular vectors of each unfolding (HOSVD): core and factors are
    then at most sqrt(n) times as far from the tensor as the nearest of these ranks. Each round of
    orthogonal iteration brings them nearer, or leaves them. Of a matrix both are its truncated SVD.
    Computed in float64.
    """
    double = tensor.detach().double()
    factors = [leading(double, axis, rank) for axis, rank in enumerate(ranks)]
    for _ in range(rounds):
        for axis, rank in enumerate(ranks):
            factors[axis] = leading(projected(double, factors, but=axis), axis, rank)
    core = projected(double, factors)
    return core.to(tensor.dtype), [factor.to(tensor.dtype) for factor in factors]


def leading(tensor: Tensor, axis: int, rank: int) -> Float[Tensor, "d rank"]:
    """Of the unfolding along an axis the left singular vectors of the largest values.

    Where it has fewer columns than that, those of the value 0 complete them.
    """
    unfolded = tensor.movedim(axis, 0).flatten(1)
    whole = rank > unfolded.shape[1]
    return torch.linalg.svd(unfolded, full_matrices=whole).U[:, :rank]


def projected(tensor: Tensor, factors: Sequence[Tensor], but: int | None = None) -> Tensor:
    """The tensor times the transposed factors along all axes, or all but one."""
    for axis, factor in enumerate(factors):
        if axis != but:
            tensor = (tensor.movedim(axis, -1) @ factor).movedim(-1, axis)
    return tensor
