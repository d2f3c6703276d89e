"""Compressors: what makes a trained model smaller."""

from vitruvius.techniques.compressors.prune_heads import PruneHeads
from vitruvius.techniques.compressors.prune_weights import PruneWeights

__all__ = ["PruneHeads", "PruneWeights"]
