"""A Gaussian process over decided trees.

Source: Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", algorithm 2.1 and
section 5.4.1 (marginal likelihood and its gradient); Duvenaud et al. 2011, "Additive Gaussian
processes", arXiv:1112.4394 (sums of kernels).
Differs from the sources: kernels over the decisions by place and over the point as a whole
(``tree_features.py``) are added, each a squared exponential and a linear one. Each group has a
length scale, which both share. Scales are those of the highest posterior under log-normal priors,
found by Adam from the prior's middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.search.tree_features import Described, Groups

PLACE, WHOLE = 0.3, 0.5  # middle of the prior of 1 / length^2
SHARE, SLOPE, NOISE = 0.5, 0.1, 0.01  # of the variances: exponential, linear, and of noise
WIDTH = 1.5  # standard deviation of the logarithm of each
LEAST = 1e-4  # of the variance of noise
JITTER = 1e-5
LEVEL = 1.0  # variance of how much higher trials stand than those of earlier studies did
KINSHIP = 0.7  # middle of the prior of their correlation
STEPS, RATE = 20, 0.2


@dataclass(frozen=True, eq=False)
class Scales:
    """1 / length^2 of each group; the variances of the two kernels, by place and as a whole, of
    their linear parts, and of noise; the correlation of what holds in earlier studies and here."""

    place: np.ndarray
    whole: np.ndarray
    variances: np.ndarray
    slopes: np.ndarray
    noise: float
    kinship: float = KINSHIP


@dataclass(frozen=True, eq=False)
class Evidence:
    """Points with targets of mean 0, float [points].

    Each of the ``earlier`` ones, the last, is of another study and counts as the share ``trust`` of
    a trial: its noise has the variance of noise over ``trust``. They have a mean of their own, and
    what they tell is correlated with what holds here.
    """

    points: Described
    targets: np.ndarray
    earlier: int = 0
    trust: float = 1.0

    @property
    def own(self) -> int:
        return len(self.targets) - self.earlier

    def noise(self) -> np.ndarray:
        """Of each point, in units of the variance of noise."""
        return np.where(self.foreign(), 1 / self.trust, 1.0)

    def level(self) -> np.ndarray:
        """The standard deviation of what only the trials of this study share, at each point."""
        return np.where(self.foreign() | (not self.earlier), 0.0, math.sqrt(LEVEL))

    def foreign(self) -> np.ndarray:
        """Whether each is of another study."""
        return np.arange(len(self.targets)) >= self.own


def prior(groups: Groups) -> Scales:
    """The middle of the prior."""
    return _read(_middle(groups), groups)


def fitted(groups: Groups, evidence: Evidence, steps: int = STEPS) -> Scales:
    """The scales under which the evidence is likely, after some steps."""
    lapack = _lapack()
    points, targets, noise = evidence.points, evidence.targets, evidence.noise()
    count, level = len(targets), evidence.level()
    upper = np.triu_indices(count)
    foreign = evidence.foreign()
    between = foreign[upper[0]] != foreign[upper[1]]  # pairs of both studies
    sides = [
        (of, *_products(held, of, upper))
        for held, of in ((points.place, groups.place), (points.whole, groups.whole))
    ]
    middle = _middle(groups)
    found, first, second = middle.copy(), np.zeros_like(middle), np.zeros_like(middle)
    twice = np.where(upper[0] == upper[1], 0.5, 1.0)  # each pair stands for both of its orders
    for step in range(1, steps + 1):
        scales = _read(found, groups)
        lengths = (scales.place, scales.whole)
        curved = [
            variance * np.exp(-(length @ far))
            for variance, length, (_, far, _) in zip(scales.variances, lengths, sides, strict=True)
        ]
        straight = [
            slope * (length @ product)
            for slope, length, (_, _, product) in zip(scales.slopes, lengths, sides, strict=True)
        ]
        matrix = np.zeros((count, count))
        whole = sum(curved) + sum(straight)
        kin = np.where(between, scales.kinship, 1.0)
        matrix[upper] = kin * whole
        matrix += np.outer(level, level)
        matrix[np.diag_indices(count)] += scales.noise * noise + JITTER
        root, failed = lapack.dpotrf(matrix, lower=0)
        if failed:
            break
        inverse, _ = lapack.dpotri(root, lower=0)  # its upper triangle
        weights = lapack.dpotrs(root, targets, lower=0)[0]
        pull = twice * kin * (weights[upper[0]] * weights[upper[1]] - inverse[upper])
        gradient = np.concatenate(
            [
                *(
                    length * (slope * (product @ pull) - far @ (pull * near))
                    for length, slope, near, (_, far, product) in zip(
                        lengths, scales.slopes, curved, sides, strict=True
                    )
                ),
                [pull @ part for part in (*curved, *straight)],
                [scales.noise * 0.5 * (noise @ (weights**2 - np.diag(inverse)))],
                [(1 - scales.kinship) * (pull @ (between * whole))],
            ]
        )
        gradient -= (found - middle) / WIDTH**2
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        found = found + RATE * (first / (1 - 0.9**step)) / (
            np.sqrt(second / (1 - 0.99**step)) + 1e-8
        )
    return _read(found, groups)


class TreeProcess:
    """What is known after some evidence."""

    def __init__(self, groups: Groups, scales: Scales, evidence: Evidence) -> None:
        self.lapack = lapack = _lapack()
        self.scales, self.evidence = scales, evidence
        self.lengths = (
            np.sqrt(scales.place)[groups.place].astype(np.float32),
            np.sqrt(scales.whole)[groups.whole].astype(np.float32),
        )
        self.seen, self.level = self._scaled(evidence.points), evidence.level()
        self.noise = scales.noise * evidence.noise() + JITTER
        self.foreign = evidence.foreign()
        kin = np.where(self.foreign[:, None] != self.foreign, scales.kinship, 1.0)
        matrix = kin * self._kernel(self.seen) + np.outer(self.level, self.level)
        own = self._own(self.seen) + self.level**2
        matrix[np.diag_indices(len(matrix))] = own + self.noise
        self.root = lapack.dpotrf(matrix, lower=1)[0]
        self.weights = lapack.dpotrs(self.root, evidence.targets, lower=1)[0].astype(np.float32)

    def predicted(self, points: Described) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of new points of this study, noise not counted, [points]
        each."""
        scaled, level = self._scaled(points), self.level.max()
        near = self._kernel(scaled)
        if self.evidence.earlier:
            near *= np.where(self.foreign, self.scales.kinship, 1.0).astype(np.float32)
            near += (level * self.level).astype(np.float32)
        part = self.lapack.dtrtrs(self.root, near.T.astype(np.float64), lower=1)[0]
        left = self._own(scaled) + level**2 - np.einsum("ij,ij->j", part, part)
        return near @ self.weights, np.sqrt(np.maximum(left, 1e-10))

    def means_of_seen(self) -> np.ndarray:
        """Of the points seen: their targets, less the noise in them."""
        return self.evidence.targets - self.noise * self.weights

    def _scaled(self, points: Described) -> tuple[Any, ...]:
        place, whole = points.place * self.lengths[0], points.whole * self.lengths[1]
        return place, whole, (place * place).sum(1), (whole * whole).sum(1)

    def _kernel(self, points: tuple[Any, ...]) -> np.ndarray:
        """Of some points with those seen, float32 [points, seen]."""
        found: Any = np.float32(0.0)
        scales = self.scales
        for side in range(2):
            product = points[side] @ self.seen[side].T
            far = product * np.float32(-2.0)
            far += points[2 + side][:, None]
            far += self.seen[2 + side]
            np.maximum(far, 0.0, out=far)
            np.negative(far, out=far)
            np.exp(far, out=far)
            far *= np.float32(scales.variances[side])
            product *= np.float32(scales.slopes[side])
            found = found + far + product
        return found

    def _own(self, points: tuple[Any, ...]) -> np.ndarray:
        """Of each point with itself."""
        scales = self.scales
        straight = scales.slopes[0] * points[2] + scales.slopes[1] * points[3]
        return scales.variances.sum() + straight


def _lapack() -> Any:
    from scipy.linalg import lapack

    return lapack


def _middle(groups: Groups) -> np.ndarray:
    """The middle of the prior: logarithms, and the logit of the kinship."""
    place, whole = _count(groups.place), _count(groups.whole)
    lengths = [np.full(place, PLACE), np.full(whole, WHOLE)]
    numbers = [SHARE, SHARE, SLOPE, SLOPE, NOISE, KINSHIP / (1 - KINSHIP)]
    return np.log(np.concatenate([*lengths, numbers]))


def _read(values: np.ndarray, groups: Groups) -> Scales:
    place, found = _count(groups.place), np.exp(values)
    noise, odds = max(float(found[-2]), LEAST), float(found[-1])
    lengths, others = (found[:place], found[place:-6]), (found[-6:-4], found[-4:-2])
    return Scales(*lengths, *others, noise, odds / (1 + odds))


def _count(groups: np.ndarray) -> int:
    return int(groups.max(initial=-1)) + 1


def _products(
    points: np.ndarray, groups: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and inner products of pairs in each group, [groups, pairs] each."""
    far = np.zeros((_count(groups), len(pairs[0])))
    product = np.zeros_like(far)
    for group in range(len(far)):
        own = points[:, groups == group].astype(np.float64)
        inner = own @ own.T
        square = np.diag(inner)
        far[group] = np.maximum(square[:, None] + square - 2 * inner, 0.0)[pairs]
        product[group] = inner[pairs]
    return far, product
