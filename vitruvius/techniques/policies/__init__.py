"""Policies: what to hide of a batch."""

from vitruvius.techniques.policies.mask_policy import MaskPolicy, Shares

__all__ = ["MaskPolicy", "Shares"]
