"""BM25 by its formula, and names in code."""

import sys

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Given, Index
from vitruvius.techniques.retrievers import BM25
from vitruvius.techniques.retrievers.bm25 import TermIndex
from vitruvius.techniques.retrievers.terms import terms

pytest.importorskip("bm25s")
TEXTS = ["The cat sat on the mat", "a dog", "the cat and the dog and the cow", ""]


def documents(texts: list[str], column: str = "text") -> Documents:
    return Documents({column: np.array(texts, dtype=object)})


def index(texts: list[str], node: BM25) -> TermIndex:
    made = node.index(documents(texts), Given())
    assert isinstance(made, TermIndex)
    return made


def by_formula(texts: list[str], query: str, k1: float, b: float) -> np.ndarray:
    each = [text.lower().split() for text in texts]
    mean = sum(map(len, each)) / len(each)
    found = np.zeros(len(each))
    for term in query.lower().split():
        within = sum(term in words for words in each)
        rarity = np.log(1 + (len(each) - within + 0.5) / (within + 0.5))
        for row, words in enumerate(each):
            count = words.count(term)
            found[row] += rarity * count / (count + k1 * (1 - b + b * len(words) / mean))
    return found


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (2.0, 0.0)])
@pytest.mark.parametrize("query", ["cat", "the dog", "cow mat the", "cat cat"])
def test_it_follows_the_formula(k1: float, b: float, query: str) -> None:
    found = index(TEXTS, BM25(k1, b)).scores(documents([query], "query"))
    np.testing.assert_allclose(found[0], by_formula(TEXTS, query, k1, b), rtol=1e-5, atol=1e-6)


def test_hits_come_best_first_and_only_with_a_shared_term() -> None:
    made = BM25().index(documents(TEXTS), Given())
    assert isinstance(made, Index)
    hits = made.search(documents(["dog", "zebra", "cat mat"]), k=3)
    assert hits.ids.tolist() == [[1, 2, -1], [-1, -1, -1], [0, 2, -1]]
    assert (hits.scores[:, :-1] >= hits.scores[:, 1:]).all() and hits.scores[1].sum() == 0
    many = made.search(documents(["dog"]), k=9)
    assert many.ids.shape == (1, 9) and many.ids[0, 2:].tolist() == [-1] * 7
    twins = index(["same words", "same words"], BM25()).search(documents(["words"]), k=2)
    assert twins.ids.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getHTTPResponse_code", "get http response code"),
        ("snake_case __init__", "snake case init"),
        ("parse2Ints x86", "parse2 ints x86"),
        ("naïveFürWörter", "naïvefürwörter"),
        ("a.b(c) != 3.5", "a b c 3 5"),
        ("", ""),
    ],
)
def test_names_are_cut_as_programmers_join_them(text: str, expected: str) -> None:
    found = terms(text, split=True)
    assert "".join(found) == "".join(expected.split()).lower()
    if text.isascii():
        assert found == terms(expected) or "2" in text
    assert terms(text) == [w.lower() for w in text.replace(".", " ").replace("(", " ")
                           .replace(")", " ").replace("!=", " ").split()]  # fmt: skip


def test_a_function_is_found_by_the_parts_of_its_name() -> None:
    code = ["def readCsvFile(path): ...", "def write_json(path): ...", "def path(): ..."]
    query = documents(["read a csv file"])
    assert index(code, BM25()).search(query, 1).ids.tolist() == [[-1]]
    assert index(code, BM25(split=True)).search(query, 1).ids.tolist() == [[0]]


def test_what_cannot_be_searched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="documents with words; all 2 are empty"):
        BM25().index(documents(["", " -- "]), Given())
    with pytest.raises(ValueError, match="BM25 searches texts; got vectors"):
        index(TEXTS, BM25()).search(torch.zeros(1, 3), 1)
    for wrong in ({"k1": -1.0}, {"b": 1.5}):
        with pytest.raises(ValueError, match=r"BM25 needs k1 of at least 0 and b from 0 to 1"):
            BM25(**wrong)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ValueError, match=r"pip install 'vitruvius\[retrieval\]'"):
        BM25().index(documents(TEXTS), Given())
