"""Exact search over vectors."""

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Given, Index
from vitruvius.techniques.retrievers import Nearest, best
from vitruvius.techniques.retrievers.nearest import VectorIndex

VECTORS = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0], [-1.0, 0.0]], np.float32)


def index(node: Nearest, vectors: np.ndarray = VECTORS) -> VectorIndex:
    made = node.index(Documents({"vector": vectors}), Given())
    assert isinstance(made, VectorIndex) and isinstance(made, Index)
    return made


def test_cosine_and_inner_product_by_hand() -> None:
    asked = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    half = 0.5**0.5
    np.testing.assert_allclose(
        index(Nearest()).scores(asked), [[1, half, 0, -1], [0, half, 1, 0]], atol=1e-6
    )
    np.testing.assert_allclose(
        index(Nearest(cosine=False)).scores(asked), [[6, 3, 0, -3], [0, 0.5, 1.5, 0]], atol=1e-6
    )
    assert Nearest().reads == {"vector"}


def test_hits_come_best_first_with_their_vectors() -> None:
    queries = Documents({"vector": np.array([[1.0, 0.1], [0.0, 1.0]], np.float32)})
    hits = index(Nearest()).search(queries, k=6)
    assert hits.ids.tolist() == [[0, 1, 2, 3, -1, -1], [2, 1, 0, 3, -1, -1]]  # 0 and 3 tie
    assert hits.vectors is not None and hits.vectors.shape == (2, 6, 2)
    assert torch.equal(hits.vectors[0, :4], torch.from_numpy(VECTORS))
    assert not hits.vectors[:, 4:].any()
    assert index(Nearest()).search(queries, k=2).ids.tolist() == [[0, 1], [2, 1]]


def test_many_queries_go_in_blocks_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    made = index(Nearest(), rng.normal(size=(50, 8)).astype(np.float32))
    queries = Documents({"vector": rng.normal(size=(23, 8)).astype(np.float32)})
    whole = made.search(queries, 7)
    monkeypatch.setattr(best, "SCORES", 200)
    for asked in (queries, torch.from_numpy(np.asarray(queries.payload["vector"]))):
        parts = made.search(asked, 7)
        assert torch.equal(parts.ids, whole.ids)
        assert torch.allclose(parts.scores, whole.scores)
    ordered = np.argsort(-made.scores(queries), axis=1, kind="stable")[:, :7]
    assert np.array_equal(whole.ids.numpy(), ordered)


def test_a_vector_of_zeros_is_like_nothing() -> None:
    made = index(Nearest(), np.array([[0.0, 0.0], [1.0, 0.0]], np.float32))
    assert made.scores(torch.tensor([[1.0, 0.0], [0.0, 0.0]])).tolist() == [[0, 1], [0, 0]]


def test_what_has_no_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"payload \"vector\"; these have \['text'\]. Embed"):
        Nearest().index(Documents({"text": np.array(["a"], dtype=object)}), Given())
    with pytest.raises(ValueError, match=r"a vector for each item, \[N d\]; got \[3\]"):
        index(Nearest(), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="vectors of 2 numbers, as the documents have; got 3"):
        index(Nearest()).scores(torch.ones(1, 3))
    with pytest.raises(ValueError, match="at least 1 document; got k=0"):
        index(Nearest()).search(torch.ones(1, 2), 0)
