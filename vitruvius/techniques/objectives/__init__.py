"""Objectives: what training minimises."""

from vitruvius.techniques.objectives.supervised import Supervised

__all__ = ["Supervised"]
