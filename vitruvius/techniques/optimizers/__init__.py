"""Optimizers: how gradients change parameters."""

from vitruvius.techniques.optimizers.adamw import AdamW
from vitruvius.techniques.optimizers.muon import Muon
from vitruvius.techniques.optimizers.sgd import SGD

__all__ = ["SGD", "AdamW", "Muon"]
