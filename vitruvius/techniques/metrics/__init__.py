"""Metrics: scores of predictions, each with its standard error."""

from vitruvius.techniques.metrics.accuracy import Accuracy
from vitruvius.techniques.metrics.balanced_accuracy import BalancedAccuracy
from vitruvius.techniques.metrics.cross_entropy import CrossEntropy
from vitruvius.techniques.metrics.macro_f1 import MacroF1
from vitruvius.techniques.metrics.mean_absolute_error import MeanAbsoluteError
from vitruvius.techniques.metrics.r2 import R2
from vitruvius.techniques.metrics.roc_auc import RocAuc
from vitruvius.techniques.metrics.root_mean_squared_error import RootMeanSquaredError

__all__ = [
    "R2",
    "Accuracy",
    "BalancedAccuracy",
    "CrossEntropy",
    "MacroF1",
    "MeanAbsoluteError",
    "RocAuc",
    "RootMeanSquaredError",
]
