"""Heads: from what a network knows of an item to an answer."""

from vitruvius.techniques.heads.answer import Answer
from vitruvius.techniques.heads.readout import Readout

__all__ = ["Answer", "Readout"]
