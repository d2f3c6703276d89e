"""Optimizers: how gradients change parameters."""

from vitruvius.techniques.optimizers.adamw import AdamW
from vitruvius.techniques.optimizers.muon import Muon
from vitruvius.techniques.optimizers.sgd import SGD
from vitruvius.techniques.optimizers.soap import SOAP

__all__ = ["SGD", "SOAP", "AdamW", "Muon"]
