"""Retrievers: what finds documents for queries."""

from vitruvius.techniques.retrievers.bm25 import BM25
from vitruvius.techniques.retrievers.dense import Dense
from vitruvius.techniques.retrievers.fused import Fused

__all__ = ["BM25", "Dense", "Fused"]
