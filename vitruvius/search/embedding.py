"""A vector for every decided tree, also for those never seen: distances are those of the trees.

Source: Tuli, Dedhia, Tuli and Jha 2023, "FlexiBERT: Are Current Transformer Architectures too
Homogeneous and Rigid?", arXiv:2205.11656, section 3.2, where a table of vectors is fitted to the
graph edit distances of a library; Torgerson 1952, "Multidimensional scaling: I. Theory and method".
Differs from the paper: the dissimilarity of two trees is the distance of their hashed features
(``features.py``: each decision under the path that leads to it), so that classical scaling has a
closed form and is linear: a new design has a vector at once, and nothing is fitted anew. What the
principal directions leave out is projected at random, so that rare branches are seen too.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from vitruvius.search.candidates import Candidates, candidates
from vitruvius.search.features import Features
from vitruvius.space import Point, Program

HASHED = 256  # features, before the scaling
SAMPLE = 512  # random points whose principal directions are taken
REFERENCE = 256  # of these, whose vectors are kept: points that nobody has asked for yet
REST = 0.25  # share of the dimensions for what these leave out


class Embedding:
    """A linear map of the features of points into ``dimensions``, made once for a space.

    The squared distance of two vectors is that of their features but for a common factor: exactly
    along the principal directions, in expectation along the others. The factor gives the first
    direction the variance 1 over random points. It depends on the space alone.
    """

    def __init__(self, program: Program, dimensions: int) -> None:
        self.candidates: Candidates = candidates(program, Features(HASHED, 0, seed=0))
        draw = Random(0)
        sums = self.candidates.sums([program.sample(draw) for _ in range(SAMPLE)]).astype(float)
        self.center = sums.mean(0)
        _, values, directions = np.linalg.svd(sums - self.center, full_matrices=False)
        rest = max(1, round(REST * dimensions))
        first = directions[: dimensions - rest].T
        signs = np.sign(first[np.abs(first).argmax(0), np.arange(first.shape[1])])
        first = first * signs  # else they are those of the machine's library
        drawn = np.random.default_rng(0).standard_normal((HASHED, rest)) / rest**0.5
        scale = max(values[0] / SAMPLE**0.5, 1e-9)
        self.map = np.concatenate([first, drawn - first @ (first.T @ drawn)], axis=1) / scale
        self.reference = self.vectors(sums[:REFERENCE])

    def vectors(self, sums: np.ndarray) -> np.ndarray:
        """Of sums of features as ``candidates`` draws them, float64 [points, dimensions]."""
        return (sums - self.center) @ self.map

    def of(self, points: Sequence[Point]) -> np.ndarray:
        """Of points, float64 [points, dimensions]."""
        return self.vectors(self.candidates.sums(points))
