"""Terms that query and document share, the rare ones weighing more.

Source: Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond",
Foundations and Trends in Information Retrieval 3, section 3; as in Lucene after Kamphuis et al.
2020, ECIR, table 1. Computed by bm25s: Lù 2024, arXiv:2407.03618.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vitruvius.contracts import Array, Documents, Given, Hits, Index, Retriever
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.retrievers.terms import terms


@dataclass(frozen=True)
class BM25(Retriever):
    """Sum over shared terms of idf * tf / (tf + k1 (1 - b + b length / mean length)).

    idf = ln(1 + (N - n + 1/2) / (n + 1/2)) for a term in n of N documents. Documents have the
    payload "text", queries "query" or "text".
    """

    k1: float = hyper(1.5, uniform(0.5, 3.0), "how much a term counts that comes again")
    b: float = hyper(0.75, uniform(0.0, 1.0), "how much long documents are held to be so by chance")
    split: bool = hyper(False, one_of(False, True), "cut names at humps and underscores, for code")

    libraries: ClassVar[tuple[str, ...]] = ("bm25s",)

    def check(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ValueError(
                f"BM25 needs k1 of at least 0 and b from 0 to 1; got k1={self.k1}, b={self.b}."
            )

    def index(self, documents: Documents, given: Given) -> Index:
        """Raises ValueError where there is no term in any document."""
        try:
            library = importlib.import_module("bm25s")
        except ImportError as error:
            raise ValueError(
                "BM25 needs the bm25s library: pip install 'vitruvius[retrieval]'."
            ) from error
        of_each = [terms(str(text), self.split) for text in documents.payload["text"][:]]
        if not any(of_each):
            raise ValueError(f"BM25 needs documents with words; all {len(of_each)} are empty.")
        made = library.BM25(k1=self.k1, b=self.b, method="lucene")
        made.index(of_each, show_progress=False)
        return TermIndex(documents, made, self.split)


class TermIndex:
    """Terms of documents, and where they stand."""

    def __init__(self, documents: Documents, scorer: Any, split: bool) -> None:
        self.documents = documents
        self.scorer = scorer
        self.split = split

    def scores(self, queries: Documents) -> Array:
        """Of all documents for each query, float32 [Q N]."""
        column = queries.payload["query" if "query" in queries.payload else "text"]
        found = np.zeros((len(queries), len(self.documents)), np.float32)
        for row, text in enumerate(column[:]):
            known = [t for t in terms(str(text), self.split) if t in self.scorer.vocab_dict]
            if known:
                found[row] = self.scorer.get_scores(known)
        return found

    def search(self, queries: Documents | Tensor, k: int) -> Hits:
        """The best k; of equal scores the earlier document comes first."""
        if isinstance(queries, Tensor):
            raise ValueError("BM25 searches texts; got vectors. Give Documents with queries.")
        scores = self.scores(queries)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, order, 1)
        ids = np.full((len(scores), k), -1, np.int64)
        values = np.zeros((len(scores), k), np.float32)
        ids[:, : order.shape[1]] = np.where(best > 0, order, -1)
        values[:, : order.shape[1]] = best
        return Hits(torch.from_numpy(ids), torch.from_numpy(values))
