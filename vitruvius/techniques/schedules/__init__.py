"""Schedules: values over a training, such as factors of the learning rate or shares of data."""

from vitruvius.techniques.schedules.between import Between
from vitruvius.techniques.schedules.constant import Constant
from vitruvius.techniques.schedules.cosine import Cosine
from vitruvius.techniques.schedules.linear import Linear
from vitruvius.techniques.schedules.milestones import Milestones
from vitruvius.techniques.schedules.mixture import Mixture
from vitruvius.techniques.schedules.phases import Phases
from vitruvius.techniques.schedules.plateau import Plateau
from vitruvius.techniques.schedules.power import Power
from vitruvius.techniques.schedules.wsd import WSD

__all__ = [
    "WSD",
    "Between",
    "Constant",
    "Cosine",
    "Linear",
    "Milestones",
    "Mixture",
    "Phases",
    "Plateau",
    "Power",
]
