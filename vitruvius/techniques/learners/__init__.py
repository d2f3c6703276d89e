"""Learners: what learns one task after another, and may not look back."""

from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.exemplars import herded
from vitruvius.techniques.learners.fine_tuning import FineTuning
from vitruvius.techniques.learners.icarl import ICaRL
from vitruvius.techniques.learners.joint import Joint
from vitruvius.techniques.learners.lwf import LwF
from vitruvius.techniques.learners.ranpac import RanPAC
from vitruvius.techniques.learners.replay import Replay
from vitruvius.techniques.learners.wa import WA, aligned

__all__ = [
    "WA",
    "Descent",
    "FineTuning",
    "ICaRL",
    "Joint",
    "LwF",
    "RanPAC",
    "Replay",
    "aligned",
    "herded",
]
