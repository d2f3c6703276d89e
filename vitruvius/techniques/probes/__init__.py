"""Probes: what is measured of a model without an answer of it."""

from vitruvius.techniques.probes.rankme import RankMe, effective_rank, rankme

__all__ = ["RankMe", "effective_rank", "rankme"]
