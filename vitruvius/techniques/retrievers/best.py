"""The best documents by their scores: how every index here answers a search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from vitruvius.contracts import Documents, Hits, Index

SCORES = 2**24  # that are in memory at once


def found(index: Index, queries: Documents | Tensor, k: int, above: float = -np.inf) -> Hits:
    """The best k for each query, by all scores of an index, some queries at a time."""
    if k < 1:
        raise ValueError(f"A search asks for at least 1 document; got k={k}.")
    parts = [best(index.scores(part), k, above) for part in _blocks(queries, len(index.documents))]
    return Hits(torch.cat([p.ids for p in parts]), torch.cat([p.scores for p in parts]))


def best(scores: Float32[np.ndarray, "Q N"], k: int, above: float = -np.inf) -> Hits:
    """The best k of each row with a score above the bound, -1 behind them; of equal scores the
    earlier document comes first."""
    ids = np.full((len(scores), k), -1, np.int64)
    values = np.zeros((len(scores), k), np.float32)
    for row, of_query in enumerate(scores):
        rows = np.flatnonzero(of_query > above)
        if len(rows) > k:
            least = np.partition(of_query[rows], len(rows) - k)[len(rows) - k]
            rows = rows[of_query[rows] >= least]
        rows = rows[np.argsort(-of_query[rows], kind="stable")][:k]
        ids[row, : len(rows)], values[row, : len(rows)] = rows, of_query[rows]
    return Hits(torch.from_numpy(ids), torch.from_numpy(values))


def _blocks(queries: Documents | Tensor, documents: int) -> Iterator[Documents | Tensor]:
    size = max(1, SCORES // max(documents, 1))
    if len(queries) <= size:
        yield queries
        return
    for start in range(0, len(queries), size):
        stop = min(start + size, len(queries))
        if isinstance(queries, Tensor):
            yield queries[start:stop]
        else:
            yield queries.take(np.arange(start, stop))
