"""The Walsh-Hadamard transform.

Source: Fino & Algazi 1976, "Unified matrix treatment of the fast Walsh-Hadamard transform", IEEE
Transactions on Computers 25(11).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

STRIDE = 6  # butterflies that one product with a matrix of 64 x 64 does: 4 times as fast as each


def walsh_hadamard(x: Float[Tensor, "*lead n"]) -> Float[Tensor, "*lead n"]:
    """H x along the last axis, n = 2^k, with H[i, j] = (-1)^(bits that i and j have in common).

    Not normalised: H H = n. O(n log n); H is symmetric, so the gradient is H of the gradient.
    Automatic casts to half precision do not touch it.
    """
    n = x.shape[-1]
    if n & (n - 1) or not n:
        raise ValueError(
            f"walsh_hadamard takes lengths that are powers of two; got {n}. Pad with zeros."
        )
    lead, left, low = x.shape[:-1], n.bit_length() - 1, 1
    with torch.autocast(x.device.type, enabled=False):
        while left:
            bits = min(STRIDE, left)
            h = hadamard(bits, x)
            # Axis -2 is bits of the index, from the lowest on: a matrix does several at once.
            x = h @ x.reshape(*lead, -1, 2**bits, low) if low > 1 else x.reshape(-1, 2**bits) @ h
            x = x.reshape(*lead, n)
            left, low = left - bits, low * 2**bits
    return x


def hadamard(bits: int, like: Tensor) -> Float[Tensor, "n n"]:
    """The matrix H of 2^bits rows, in the dtype and on the device of another tensor."""
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=like.dtype, device=like.device)
    h = like.new_ones(1, 1)
    for _ in range(bits):
        h = torch.kron(step, h)
    return h
