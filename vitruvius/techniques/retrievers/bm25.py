"""Terms that query and document share, the rare ones weighing more.

Source: Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond",
Foundations and Trends in Information Retrieval 3, section 3; as in Lucene after Kamphuis et al.
2020, ECIR, table 1. Computed by bm25s: Lù 2024, arXiv:2407.03618.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from vitruvius.contracts import Documents, Given, Hits, Index, Retriever
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.retrievers.best import found
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
        library = _library()
        of_each = [terms(str(text), self.split) for text in documents.payload["text"][:]]
        if not any(of_each):
            raise ValueError(f"BM25 needs documents with words; all {len(of_each)} are empty.")
        vocabulary = {term: i for i, term in enumerate(sorted(set().union(*of_each)))}
        ids = [[vocabulary[term] for term in of_one] for of_one in of_each]
        scorer = library.BM25(k1=self.k1, b=self.b, method="lucene")
        scorer.index((ids, vocabulary), show_progress=False)
        return TermIndex(self, documents, scorer)


class TermIndex:
    """Terms of documents, and where they stand."""

    def __init__(self, retriever: BM25, documents: Documents, scorer: Any) -> None:
        self.retriever = retriever
        self.documents = documents
        self.scorer = scorer

    def describe(self) -> dict[str, Any]:
        """What a store keeps: the terms in their order, and the scorer's own arrays."""
        known = sorted(self.scorer.vocab_dict.items(), key=lambda pair: pair[1])
        return {
            "retriever": self.retriever,
            "documents": self.documents,
            "terms": np.array([term for term, _ in known], dtype=object),
            "scores": dict(self.scorer.scores),
        }

    @classmethod
    def rebuild(cls, written: Mapping[str, Any]) -> TermIndex:
        """The same index."""
        node = written["retriever"]
        scorer = _library().BM25(k1=node.k1, b=node.b, method="lucene")
        scorer.scores = written["scores"]
        scorer.vocab_dict = {term: i for i, term in enumerate(written["terms"].tolist())}
        scorer.unique_token_ids_set = set(scorer.vocab_dict.values())
        scorer.nonoccurrence_array = None  # this method gives 0 to what has no term
        return cls(node, written["documents"], scorer)

    def scores(self, queries: Documents | Tensor) -> Float32[np.ndarray, "Q N"]:
        """Of all documents for each query."""
        if isinstance(queries, Tensor):
            raise ValueError("BM25 searches texts; got vectors. Give Documents with queries.")
        column = queries.payload["query" if "query" in queries.payload else "text"]
        made = np.zeros((len(queries), len(self.documents)), np.float32)
        for row, text in enumerate(column[:]):
            asked = terms(str(text), self.retriever.split)
            known = [term for term in asked if term in self.scorer.vocab_dict]
            if known:
                made[row] = self.scorer.get_scores(known)
        return made

    def search(self, queries: Documents | Tensor, k: int) -> Hits:
        """The best k that share a term; of equal scores the earlier document comes first."""
        return found(self, queries, k, above=0.0)


def _library() -> Any:
    try:
        return importlib.import_module("bm25s")
    except ImportError as error:
        raise ValueError(
            "BM25 needs the bm25s library: pip install 'vitruvius[retrieval]'."
        ) from error
