"""Protocols: how designs are compared, and on what data they may be chosen."""

from vitruvius.techniques.protocols.all_at_once import AllAtOnce
from vitruvius.techniques.protocols.class_incremental import ClassIncremental
from vitruvius.techniques.protocols.conventional import Conventional, optimism, ranked, swaps
from vitruvius.techniques.protocols.halves import Halves
from vitruvius.techniques.protocols.two_phase import TwoPhase

__all__ = [
    "AllAtOnce",
    "ClassIncremental",
    "Conventional",
    "Halves",
    "TwoPhase",
    "optimism",
    "ranked",
    "swaps",
]
