"""Retrievers: what finds documents for queries."""

from vitruvius.techniques.retrievers.bm25 import BM25
from vitruvius.techniques.retrievers.fused import Fused
from vitruvius.techniques.retrievers.nearest import Nearest

__all__ = ["BM25", "Fused", "Nearest"]
