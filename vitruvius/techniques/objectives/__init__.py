"""Objectives: what training minimises."""

from vitruvius.techniques.objectives.contrastive import Contrastive
from vitruvius.techniques.objectives.healing import Healing
from vitruvius.techniques.objectives.logit_adjusted import LogitAdjusted
from vitruvius.techniques.objectives.masked_tokens import MaskedTokens
from vitruvius.techniques.objectives.next_token import NextToken
from vitruvius.techniques.objectives.replaced_tokens import ReplacedTokens
from vitruvius.techniques.objectives.simclr import SimCLR
from vitruvius.techniques.objectives.sum import Sum, Term
from vitruvius.techniques.objectives.supervised import Supervised
from vitruvius.techniques.objectives.unchanged import Unchanged
from vitruvius.techniques.objectives.vicreg import VICReg

__all__ = [
    "Contrastive",
    "Healing",
    "LogitAdjusted",
    "MaskedTokens",
    "NextToken",
    "ReplacedTokens",
    "SimCLR",
    "Sum",
    "Supervised",
    "Term",
    "Unchanged",
    "VICReg",
]
