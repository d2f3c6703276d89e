"""The documents whose vectors point where that of the query does.

Source: Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering",
arXiv:2004.04906, section 3.1.
Differs from the paper: the search is exact, and by cosine unless the inner product is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from vitruvius.contracts import Documents, Given, Hits, Index, Retriever
from vitruvius.space import hyper
from vitruvius.techniques.retrievers.best import found

TINY = 1e-12  # length of a vector that points nowhere


@dataclass(frozen=True)
class Nearest(Retriever):
    """q v / (|q| |v|) for all documents, or q v; 2 d FLOPs and 4 d bytes for each.

    Documents have the payload "vector" [N d], and so have queries, or they are a tensor [Q d]. Who
    makes the vectors of texts is the pipeline.
    """

    cosine: bool = hyper(True, None, "length does not count; else the inner product")

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"vector"})

    def index(self, documents: Documents, given: Given) -> Index:
        return VectorIndex(self, documents)


class VectorIndex:
    """Vectors of documents, all of which are compared."""

    def __init__(self, retriever: Nearest, documents: Documents) -> None:
        self.retriever = retriever
        self.documents = documents
        self.vectors = vectors_of(documents)
        lengths = self.vectors.norm(dim=1).clamp(min=TINY)
        self.factors = 1 / lengths if retriever.cosine else torch.ones_like(lengths)

    def scores(self, queries: Documents | Tensor) -> Float32[np.ndarray, "Q N"]:
        """Of all documents for each query."""
        asked = vectors_of(queries)
        if asked.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"Queries need vectors of {self.vectors.shape[1]} numbers, as the documents have; "
                f"got {asked.shape[1]}. Take both from one model."
            )
        if self.retriever.cosine:
            asked = torch.nn.functional.normalize(asked, dim=1, eps=TINY)
        return (asked @ self.vectors.T * self.factors).numpy()

    def search(self, queries: Documents | Tensor, k: int) -> Hits:
        """The best k with their vectors; of equal scores the earlier document comes first."""
        hits = found(self, queries, k)
        vectors = self.vectors[hits.ids.clamp(min=0)]
        return replace(hits, vectors=vectors * (hits.ids >= 0).unsqueeze(-1))


def vectors_of(items: Documents | Tensor) -> Float32[Tensor, "N d"]:
    """On the CPU, without gradient. Raises ValueError where there are none."""
    if not isinstance(items, Tensor):
        if "vector" not in items.payload:
            raise ValueError(
                'Nearest needs documents and queries with the payload "vector"; these have '
                f"{sorted(items.payload)}. Embed their texts first."
            )
        items = torch.from_numpy(np.ascontiguousarray(items.payload["vector"][:], np.float32))
    if items.dim() != 2:
        raise ValueError(f"Nearest needs a vector for each item, [N d]; got {list(items.shape)}.")
    return items.detach().cpu().float()
