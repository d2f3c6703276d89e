"""Initializers: weights before training."""

from vitruvius.techniques.initializers.default import Default
from vitruvius.techniques.initializers.kaiming import Kaiming
from vitruvius.techniques.initializers.orthogonal import Orthogonal
from vitruvius.techniques.initializers.xavier import Xavier

__all__ = ["Default", "Kaiming", "Orthogonal", "Xavier"]
