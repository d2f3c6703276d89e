"""Bayesian ridge regression that takes in one row at a time.

With features z, noise variance ``ridge`` and weights of variance 1, the posterior has the
covariance ``ridge * P`` with ``P = (ridge I + Z' Z)^-1`` and mean ``P Z' y``. A row updates P by
Sherman and Morrison's formula in O(width^2); the targets may change as a whole, for ``Z' y`` is
made anew.
"""

from __future__ import annotations

import numpy as np

DOUBT = 1.0  # standard deviation of how far earlier rows hold, which is 1 on average


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

    def recall(self, gram: np.ndarray, products: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Take in ``Z' Z`` and ``Z' y`` of other rows, and how far they may be believed.

        Alone they lead to the weights m. Here the weights are ``a m`` and a rest, where ``a`` has
        the mean 1 and the standard deviation ``DOUBT``: the covariance gains DOUBT^2 m m', the mean
        stays. A few rows of one's own then tell whether m holds, or the contrary of it. Returns
        what to add to ``products``, given what was added ``before``: O(width^3).
        """
        width = len(products)
        alone = np.linalg.solve(gram + self.ridge * np.eye(width), products)
        precision = np.linalg.inv(self.inverse) + gram
        turned = precision @ alone
        share = DOUBT**2 / (self.ridge + DOUBT**2 * (alone @ turned))
        self.inverse = np.linalg.inv(precision - share * np.outer(turned, turned))
        added = before + products
        return added - share * turned * (alone @ added)


def shrink(inverse: np.ndarray, row: np.ndarray, scratch: np.ndarray | None = None) -> None:
    """P after one more row, in place: P - (P z)(P z)' / (1 + z' P z)."""
    step = inverse @ row
    step /= np.sqrt(1.0 + row @ step)
    inverse -= np.multiply.outer(step, step, out=scratch)


def spread(inverse: np.ndarray, rows: np.ndarray, ridge: float) -> np.ndarray:
    """Standard deviation of what the weights predict for each row."""
    variance = np.einsum("ij,ij->i", rows @ inverse.astype(np.float32), rows)
    return np.sqrt(np.maximum(variance, 0.0) * ridge)
