"""Transforms: documents to documents."""

from vitruvius.techniques.transforms.exact_duplicates import ExactDuplicates
from vitruvius.techniques.transforms.near_duplicates import NearDuplicates, kin

__all__ = ["ExactDuplicates", "NearDuplicates", "kin"]
