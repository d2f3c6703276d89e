"""Bayesian ridge regression that takes in one row at a time.

With features z, noise variance ``ridge`` and weights of variance 1, the posterior has the
covariance ``ridge * P`` with ``P = (ridge I + Z' Z)^-1`` and mean ``P Z' y``. A row updates P by
Sherman and Morrison's formula in O(width^2); the targets may change as a whole, for ``Z' y`` is
made anew.
"""

from __future__ import annotations

import numpy as np


class Ridge:
    """The rows seen so far, and P."""

    def __init__(self, width: int, ridge: float) -> None:
        self.ridge = ridge
        self.inverse = np.eye(width) / ridge
        self._scratch = np.empty_like(self.inverse)
        self._rows = np.zeros((64, width), np.float32)
        self.count = 0

    @property
    def rows(self) -> np.ndarray:
        """float32 [count, width]"""
        return self._rows[: self.count]

    def add(self, row: np.ndarray) -> None:
        if self.count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self.count] = row
        self.count += 1
        shrink(self.inverse, row.astype(np.float64), self._scratch)

    def products(self, targets: np.ndarray) -> np.ndarray:
        """Z' y, float64 [width]."""
        return (targets.astype(np.float32) @ self.rows).astype(np.float64)


def shrink(inverse: np.ndarray, row: np.ndarray, scratch: np.ndarray | None = None) -> None:
    """P after one more row, in place: P - (P z)(P z)' / (1 + z' P z)."""
    step = inverse @ row
    step /= np.sqrt(1.0 + row @ step)
    inverse -= np.multiply.outer(step, step, out=scratch)


def spread(inverse: np.ndarray, rows: np.ndarray, ridge: float) -> np.ndarray:
    """Standard deviation of what the weights predict for each row."""
    variance = np.einsum("ij,ij->i", rows @ inverse.astype(np.float32), rows)
    return np.sqrt(np.maximum(variance, 0.0) * ridge)
