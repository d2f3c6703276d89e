"""Several retrievers as one: their scores are brought to one scale and added.

Source: Bruch, Gai & Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval",
arXiv:2210.11934, sections 3 and 4; ranks from Cormack, Clarke & Buettcher 2009, "Reciprocal Rank
Fusion outperforms Condorcet and individual Rank Learning Methods", SIGIR.
Differs from the papers: all documents take part, not the best of each retriever; equal scores have
one rank, so that the order of documents decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from vitruvius.contracts import Documents, Given, Hits, Index, Retriever
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.retrievers.best import found
from vitruvius.techniques.retrievers.bm25 import BM25
from vitruvius.techniques.retrievers.nearest import Nearest

SCALES = ("minmax", "zscore", "ranks")


@dataclass(frozen=True)
class Fused(Retriever):
    """sum_i w_i f(s_i) with w the ``weight`` for the first, its rest in equal parts for the others.

    f(s) = (s - min) / (max - min) for "minmax", (s - mean) / deviation for "zscore", both over
    all documents for one query; 1 / (k + rank) for "ranks".
    """

    retrievers: tuple[Retriever, ...] = hyper(
        (Nearest(), BM25()), (Nearest.space(), BM25.space()), "whose scores are added, two at least"
    )
    how: str = hyper("minmax", one_of(*SCALES), "what brings their scores to one scale")
    weight: float = hyper(0.8, uniform(0.0, 1.0), "share of the first")
    k: int = hyper(60, one_of(5, 10, 20, 60), "of ranks: added, so that the first counts less")

    def check(self) -> None:
        if len(self.retrievers) < 2 or not all(isinstance(r, Retriever) for r in self.retrievers):
            raise ValueError(
                f"Fused.retrievers needs two retrievers or more; got {self.retrievers!r:.80}. "
                "One alone needs no Fused."
            )
        if self.how not in SCALES:
            raise ValueError(f"Fused.how is one of {', '.join(SCALES)}; got {self.how!r}.")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Fused.weight must be from 0 to 1; got {self.weight}.")
        if self.k < 0:
            raise ValueError(f"Fused.k must be at least 0; got {self.k}.")

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(retriever.reads for retriever in self.retrievers))

    @property
    def weights(self) -> tuple[float, ...]:
        """Of each retriever, summing to 1."""
        others = len(self.retrievers) - 1
        return (self.weight, *[(1 - self.weight) / others] * others)

    def index(self, documents: Documents, given: Given) -> Index:
        return FusedIndex(self, tuple(one.index(documents, given) for one in self.retrievers))


class FusedIndex:
    """Indexes of the same documents."""

    def __init__(self, retriever: Fused, indexes: tuple[Index, ...]) -> None:
        self.retriever = retriever
        self.indexes = indexes

    @property
    def documents(self) -> Documents:
        return self.indexes[0].documents

    def scores(self, queries: Documents | Tensor) -> Float32[np.ndarray, "Q N"]:
        """Of all documents for each query."""
        node = self.retriever
        made = np.zeros((len(queries), len(self.documents)), np.float32)
        for weight, index in zip(node.weights, self.indexes, strict=True):
            made += np.float32(weight) * scaled(index.scores(queries), node.how, node.k)
        return made

    def search(self, queries: Documents | Tensor, k: int) -> Hits:
        """The best k; of equal scores the earlier document comes first."""
        return found(self, queries, k)


def scaled(scores: Float32[np.ndarray, "Q N"], how: str, k: int = 60) -> Float32[np.ndarray, "Q N"]:
    """Scores of each query on one scale: "minmax", "zscore" or "ranks". Equal scores become 0 by
    the first two."""
    if how == "ranks":
        return (1 / (k + _ranks(scores))).astype(np.float32)
    if how == "minmax":
        low, size = scores.min(1, keepdims=True), np.ptp(scores, axis=1, keepdims=True)
    else:
        low, size = scores.mean(1, keepdims=True), scores.std(1, keepdims=True)
    return np.divide(scores - low, size, out=np.zeros_like(scores), where=size > 0)


def _ranks(scores: Float32[np.ndarray, "Q N"]) -> np.ndarray:
    """1 for the best; one more than how many are better."""
    ranks = np.empty(scores.shape, np.int64)
    for row, of_query in enumerate(scores):
        ordered = np.sort(-of_query)
        ranks[row] = 1 + np.searchsorted(ordered, -of_query, side="left")
    return ranks
