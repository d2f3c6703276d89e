"""Mergers: one model out of several that were trained from the same weights."""

from vitruvius.techniques.mergers.greedy_soup import GreedySoup
from vitruvius.techniques.mergers.learned_soup import LearnedSoup
from vitruvius.techniques.mergers.uniform_soup import UniformSoup
from vitruvius.techniques.mergers.wise import WiSE

__all__ = ["GreedySoup", "LearnedSoup", "UniformSoup", "WiSE"]
