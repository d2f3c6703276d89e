"""Fusion of scores and of ranks."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Given, Hits, Index, Retriever
from vitruvius.techniques.retrievers import BM25, Fused, Nearest
from vitruvius.techniques.retrievers.best import found
from vitruvius.techniques.retrievers.fused import scaled

TEXTS = ["the cat sat", "a dog ran", "cat and dog", "nothing here"]


def column(texts: list[str]) -> np.ndarray:
    return np.array(texts, dtype=object)


@dataclass(frozen=True)
class Told(Retriever):
    """Scores that are given, whatever is asked."""

    told: tuple[float, ...] = ()

    def index(self, documents: Documents, given: Given) -> Index:
        return ToldIndex(self, documents)


class ToldIndex:
    def __init__(self, retriever: Told, documents: Documents) -> None:
        self.retriever, self.documents = retriever, documents

    def scores(self, queries: object) -> np.ndarray:
        return np.array([self.retriever.told] * len(queries), np.float32)  # type: ignore[arg-type]

    def search(self, queries: Documents, k: int) -> Hits:
        return found(self, queries, k)


def fused(*told: tuple[float, ...], **fields: object) -> np.ndarray:
    node = Fused(retrievers=tuple(Told(told=one) for one in told), **fields)  # type: ignore
    documents = Documents({"text": column(TEXTS[: len(told[0])])})
    made = node.index(documents, Given())
    assert isinstance(made, Index)
    return made.scores(Documents({"query": column(["q"])}))[0]


def test_each_scale_by_hand() -> None:
    one, two = (4.0, 2.0, 0.0), (0.0, 30.0, 10.0)
    np.testing.assert_allclose(fused(one, two, weight=0.75), [0.75, 0.625, 1 / 12], rtol=1e-6)
    ranks = fused(one, two, how="ranks", weight=0.5, k=60)
    expected = [0.5 / 61 + 0.5 / 63, 0.5 / 62 + 0.5 / 61, 0.5 / 63 + 0.5 / 62]
    np.testing.assert_allclose(ranks, expected, rtol=1e-6)
    deviation = (8 / 3) ** 0.5
    np.testing.assert_allclose(
        fused(one, two, how="zscore", weight=1.0), [2 / deviation, 0, -2 / deviation], rtol=1e-6
    )


def test_the_first_has_its_share_and_the_others_the_rest() -> None:
    node = Fused(retrievers=(Nearest(), BM25(), BM25(split=True)), weight=0.6)
    assert node.weights == (0.6, 0.2, 0.2) and node.reads == {"text", "vector"}
    same = (3.0, 1.0, 2.0)
    for how in ("minmax", "zscore", "ranks"):
        assert np.argmax(fused(same, same, same, how=how)) == 0


def test_equal_scores_have_one_rank_and_decide_nothing() -> None:
    scores = np.array([[0.0, 5.0, 0.0, 7.0, 0.0]], np.float32)
    ranks = 1 / scaled(scores, "ranks", 0)
    np.testing.assert_allclose(ranks, [[3, 2, 3, 1, 3]], rtol=1e-6)
    for how in ("minmax", "zscore"):
        assert not scaled(np.full((2, 3), 1.5, np.float32), how).any()


def test_words_and_vectors_together_find_more_than_each() -> None:
    pytest.importorskip("bm25s")
    vectors = np.array([[1, 0], [0.9, 0.1], [0.0, 1], [0.5, 0.5]], np.float32)
    documents = Documents({"text": column(TEXTS), "vector": vectors})
    made = Fused(weight=0.5).index(documents, Given())
    assert made.documents is documents
    asked = Documents({"query": column(["dog"]), "vector": np.array([[1.0, 0.0]], np.float32)})
    hits = made.search(asked, 2)
    assert hits.ids.tolist() == [[1, 0]]  # close in both
    assert Nearest().index(documents, Given()).search(asked, 1).ids.tolist() == [[0]]
    with pytest.raises(ValueError, match="BM25 searches texts; got vectors"):
        made.search(torch.ones(1, 2), 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retrievers": (BM25(),)}, r"needs two retrievers or more; got \(BM25\("),
        ({"how": "sum"}, "Fused.how is one of minmax, zscore, ranks; got 'sum'"),
        ({"weight": 1.5}, "Fused.weight must be from 0 to 1; got 1.5"),
        ({"k": -1}, "Fused.k must be at least 0; got -1"),
    ],
)
def test_what_cannot_be_fused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fused(**fields)
