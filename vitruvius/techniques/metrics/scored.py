"""What metrics share that score each item and know how sure they are.

Source: Hampel 1974, "The Influence Curve and Its Role in Robust Estimation", section 4: the
variance of an estimate is that of the influence of its items, over their number.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from vitruvius.contracts import Measurement, Metric, Predictions
from vitruvius.contracts.documents import Array


@dataclass(frozen=True)
class Scored(Metric):
    """A value and the influence of each item on it, from which its standard error follows."""

    @abstractmethod
    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        """The value, and by how much each item moves it, times N; the influences sum to 0."""

    def measure(self, predictions: Predictions) -> Measurement:
        if not len(predictions.values):
            raise ValueError(f"{type(self).__name__} needs at least one prediction; got none.")
        value, influence = self.score(predictions)
        items = len(influence)
        stderr = float(influence.std(ddof=1) / items**0.5) if items > 1 else None
        return Measurement(self.name, value, self.better, stderr, items)


def mean_score(values: Float64[np.ndarray, " N"]) -> tuple[float, Float64[np.ndarray, " N"]]:
    """Value and influences of a mean."""
    value = float(values.mean())
    return value, values - value


def classes_of(
    owner: Metric, predictions: Predictions
) -> tuple[Float64[np.ndarray, "N C"], Int[np.ndarray, " N"]]:
    """Probabilities and targets of classes. Raises ValueError for anything else."""
    values, targets = _known(owner, predictions)
    if values.ndim != 2 or targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise ValueError(
            f"{type(owner).__name__} scores probabilities [N C] against class indices [N]; "
            f"got {list(values.shape)} against {targets.dtype} {list(targets.shape)}. "
            "For numbers, take RootMeanSquaredError(), MeanAbsoluteError() or R2()."
        )
    if targets.min() < 0 or targets.max() >= values.shape[1]:
        raise ValueError(
            f"{type(owner).__name__} needs targets from 0 to {values.shape[1] - 1}; "
            f"got {targets.min()} to {targets.max()}."
        )
    return values, targets


def numbers_of(
    owner: Metric, predictions: Predictions
) -> tuple[Float64[np.ndarray, "N M"], Float64[np.ndarray, "N M"]]:
    """Values and targets of M numbers for each item. Raises ValueError for anything else."""
    values, targets = _known(owner, predictions)
    if values.shape != targets.shape:
        raise ValueError(
            f"{type(owner).__name__} scores numbers against targets of the same shape; "
            f"got {list(values.shape)} against {list(targets.shape)}. "
            "For classes, take Accuracy() or CrossEntropy()."
        )
    items = len(values)
    return values.reshape(items, -1), targets.astype(np.float64).reshape(items, -1)


def hits_of(
    owner: Metric, predictions: Predictions
) -> tuple[Bool[np.ndarray, "N C"], Bool[np.ndarray, "N C"]]:
    """Whether an item is said to be of a class, and whether it is."""
    values, targets = classes_of(owner, predictions)
    classes = np.arange(values.shape[1])
    return values.argmax(1)[:, None] == classes, targets[:, None] == classes


def _known(owner: Metric, predictions: Predictions) -> tuple[Array, Array]:
    if predictions.targets is None:
        raise ValueError(
            f"{type(owner).__name__} needs targets; these predictions have none. "
            "Score data that has labels."
        )
    values = predictions.values.detach().cpu().double().numpy()
    return values, predictions.targets.detach().cpu().numpy()
