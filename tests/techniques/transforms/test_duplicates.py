"""Duplicates go, the first stays, and what is only similar stays too."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Documents, Given
from vitruvius.techniques.transforms import ExactDuplicates, NearDuplicates, kin
from vitruvius.techniques.transforms.near_duplicates import (
    PRIME,
    _family,
    minimal_hashes,
    shingles,
)

RNG = random.Random(0)
VOCABULARY = [f"word{i}" for i in range(400)]


def words(count: int) -> list[str]:
    return RNG.choices(VOCABULARY, k=count)


def documents(items: list[str]) -> Documents:
    column = np.empty(len(items), object)
    column[:] = items
    return Documents({"text": column}, {"label": np.arange(len(items))})


def jaccard(one: str, two: str) -> float:
    a, b = (set(zip(*(t.split()[i:] for i in range(5)), strict=False)) for t in (one, two))
    return len(a & b) / len(a | b)


def test_exact_duplicates_go_and_the_first_stays():
    texts = documents(["A  b\n", "c", "a b", "c", "A  b\n", "ﬁne", "FINE"])
    loose = ExactDuplicates().apply(texts, Given())
    assert loose.attributes["origin"].tolist() == [0, 1, 5]
    strict = ExactDuplicates(loose=False).apply(texts, Given())
    assert strict.attributes["origin"].tolist() == [0, 1, 2, 5, 6]
    assert strict.attributes["label"].tolist() == [0, 1, 2, 5, 6]


def test_origin_points_into_the_first_documents_of_a_chain():
    long = " ".join(words(100))
    texts = documents(["x y z", "x y z", long, f"{long} more", "other text entirely here"])
    once = ExactDuplicates().apply(texts, Given())
    twice = NearDuplicates().apply(once, Given())
    assert twice.attributes["origin"].tolist() == [0, 2, 4]
    for row, origin in enumerate(twice.attributes["origin"]):
        assert twice.payload["text"][row] == texts.payload["text"][origin]


def test_near_duplicates_are_found_by_their_share_of_ngrams():
    base = [words(200) for _ in range(30)]
    items = [" ".join(b) for b in base]
    for b in base:
        near, far = list(b), list(b)
        near[100:102] = words(2)
        far[40:160] = words(120)
        items += [" ".join(near), " ".join(far)]
    assert all(jaccard(items[i], items[30 + 2 * i]) > 0.9 for i in range(30))
    assert all(jaccard(items[i], items[31 + 2 * i]) < 0.5 for i in range(30))
    cluster = kin(documents(items), 0.8)
    for i in range(30):
        assert cluster[30 + 2 * i] == i and cluster[31 + 2 * i] == 31 + 2 * i
    left = NearDuplicates().apply(documents(items), Given())
    assert len(left) == 60 and left.attributes["origin"][:30].tolist() == list(range(30))


def test_signatures_estimate_the_share():
    a, b = _family(256)
    for share in (0.2, 0.5, 0.9):
        one = words(500)
        two = one[: int(500 * 2 * share / (1 + share))]
        two += [f"new{i}" for i in range(500 - len(two))]
        text_one, text_two = " ".join(one), " ".join(two)
        signed = [minimal_hashes(shingles(t, 5), a, b) for t in (text_one, text_two)]
        estimate = float((signed[0] == signed[1]).mean())
        assert abs(estimate - jaccard(text_one, text_two)) < 4 / (2 * 256**0.5)


def test_hashes_are_those_of_the_formula():
    a, b = _family(16)
    hashes = shingles("one two three four five six seven", 5)
    assert len(hashes) == 3
    by_hand = [min((int(a[i]) * int(h) + int(b[i])) % PRIME for h in hashes) for i in range(len(a))]
    assert minimal_hashes(hashes, a, b).tolist() == by_hand


@pytest.mark.parametrize("text", ["", "   ", "one", "one two", "!!!", "日本語の文章です。"])
def test_short_texts_are_alike_only_if_equal(text: str):
    found = kin(documents([text, f"{text} else more words here now", text]))
    assert found.tolist() == [0, 1, 0]


@given(st.lists(st.sampled_from(["a b c", "A b  c", "d e f g h i", "j"]), max_size=12))
def test_twice_is_once(items: list[str]):
    for transform in (ExactDuplicates(), NearDuplicates(signature=16)):
        once = transform.apply(documents(items), Given())
        again = transform.apply(once, Given())
        assert again.payload["text"].tolist() == once.payload["text"].tolist()
        assert again.attributes["origin"].tolist() == once.attributes["origin"].tolist()
        assert len(once) == len({i.lower().replace("  ", " ") for i in items})


def test_wrong_input_is_explained():
    with pytest.raises(ValueError, match=r"NearDuplicates\.threshold must be above 0"):
        NearDuplicates(threshold=0.0)
    with pytest.raises(ValueError, match="signature of at least 16"):
        NearDuplicates(signature=3)
