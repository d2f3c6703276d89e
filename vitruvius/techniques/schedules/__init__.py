"""Schedules: factors of the learning rate over a training."""

from vitruvius.techniques.schedules.constant import Constant
from vitruvius.techniques.schedules.cosine import Cosine
from vitruvius.techniques.schedules.linear import Linear
from vitruvius.techniques.schedules.plateau import Plateau

__all__ = ["Constant", "Cosine", "Linear", "Plateau"]
