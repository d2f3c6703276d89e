"""Metrics: scores of predictions, each with its standard error."""

from vitruvius.techniques.metrics.accuracy import Accuracy
from vitruvius.techniques.metrics.balanced_accuracy import BalancedAccuracy
from vitruvius.techniques.metrics.bits_per_character import BitsPerCharacter
from vitruvius.techniques.metrics.cross_entropy import CrossEntropy
from vitruvius.techniques.metrics.macro_f1 import MacroF1
from vitruvius.techniques.metrics.mean_absolute_error import MeanAbsoluteError
from vitruvius.techniques.metrics.mean_reciprocal_rank import MeanReciprocalRank
from vitruvius.techniques.metrics.ndcg import NDCG
from vitruvius.techniques.metrics.pearson import Pearson
from vitruvius.techniques.metrics.r2 import R2
from vitruvius.techniques.metrics.recall_at import RecallAt
from vitruvius.techniques.metrics.resampling import Interval, bootstrap, bootstrap_mean, paired
from vitruvius.techniques.metrics.roc_auc import RocAuc
from vitruvius.techniques.metrics.root_mean_squared_error import RootMeanSquaredError
from vitruvius.techniques.metrics.span_f1 import SpanF1
from vitruvius.techniques.metrics.spearman import Spearman

__all__ = [
    "NDCG",
    "R2",
    "Accuracy",
    "BalancedAccuracy",
    "BitsPerCharacter",
    "CrossEntropy",
    "Interval",
    "MacroF1",
    "MeanAbsoluteError",
    "MeanReciprocalRank",
    "Pearson",
    "RecallAt",
    "RocAuc",
    "RootMeanSquaredError",
    "SpanF1",
    "Spearman",
    "bootstrap",
    "bootstrap_mean",
    "paired",
]
