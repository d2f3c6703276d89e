"""What a point promises: its expected improvement.

Source: Jones, Schonlau and Welch 1998, "Efficient global optimization of expensive black-box
functions", equation 15; its logarithm: Ament et al. 2023, "Unexpected improvements to expected
improvement for Bayesian optimization", arXiv:2310.20708, section 4.1.
"""

from __future__ import annotations

import math

import numpy as np

FAR = -1.0  # of z, below which the two terms nearly cancel
FARTHER = -100.0  # below which 1 + z Phi(z) / phi(z) is 1 / z^2 to four digits


def log_improvement(mean: np.ndarray, spread: np.ndarray, best: float) -> np.ndarray:
    """ln(s (z Phi(z) + phi(z))) with z = (mean - best) / s, of normal predictions, float [points].

    Exact far below ``best`` too, where the improvement itself would be 0.
    """
    from scipy.special import erfcx, ndtr

    width = np.maximum(np.asarray(spread, float), 1e-12)
    z = (np.asarray(mean, float) - best) / width
    density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    near = np.log(np.maximum(z, FAR) * ndtr(np.maximum(z, FAR)) + np.exp(
        -0.5 * np.maximum(z, FAR) ** 2) / math.sqrt(2 * math.pi))  # fmt: skip
    below = np.clip(z, FARTHER, FAR)
    ratio = erfcx(-below / math.sqrt(2)) * math.sqrt(math.pi / 2)  # Phi(z) / phi(z)
    left = np.where(z < FARTHER, z, 1.0) ** -2 * np.where(z < FARTHER, 1.0, 1.0 + below * ratio)
    return np.where(z > FAR, near, density + np.log(left)) + np.log(width)
