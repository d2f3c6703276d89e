"""Retrievers: what finds documents for queries."""

from vitruvius.techniques.retrievers.bm25 import BM25

__all__ = ["BM25"]
