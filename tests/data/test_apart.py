"""A corpus without what a model will be measured on."""

import random
from typing import Any

import numpy as np
import pytest

from vitruvius.contracts import Documents
from vitruvius.data import DataError, without
from vitruvius.data.texts import Texts
from vitruvius.techniques.transforms.near_duplicates import shingles


def words(seed: int, count: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(3000)}" for _ in range(count)]


def changed(seed: int, places: int) -> str:
    """The text of this seed with so many other words, far from each other."""
    made = words(seed)
    for i in range(places):
        made[10 * i + 3] = "other"
    return " ".join(made)


def documents(**payload: Any) -> Documents:
    return Documents({name: Texts.of(texts) for name, texts in payload.items()}, digest="d")


CORPUS = [" ".join(words(i)) for i in range(20)]


def left(others: list[Documents], near: float | None = 0.8) -> list[int]:
    corpus = documents(text=CORPUS)
    found = without(corpus, others, near)
    texts = list(found.payload["text"])
    assert len(found) == len(texts)
    return [i for i, text in enumerate(CORPUS) if text not in texts]


def test_equal_texts_of_every_level_are_left_out():
    spaced = CORPUS[3].replace(" ", " \n ")
    tagged = np.empty(1, object)
    tagged[0] = tuple(CORPUS[6].split())
    others = [
        documents(text=[spaced, "new"]),
        documents(text=[CORPUS[4]], other=[CORPUS[5]]),
        Documents({"words": tagged}),
        documents(query=["what?"], positive=[CORPUS[7]]),
    ]
    assert left(others, None) == left(others) == [3, 4, 5, 6, 7]
    assert left([]) == left([documents(text=[])]) == []


def test_alike_is_counted_and_not_estimated():
    other = [changed(i, i % 4) for i in range(20)]
    expected = []
    for i, (one, two) in enumerate(zip(CORPUS, other, strict=True)):
        a, b = set(shingles(one, 5).tolist()), set(shingles(two, 5).tolist())
        if len(a & b) >= 0.8 * len(a | b):
            expected.append(i)
    assert expected == [i for i in range(20) if i % 4 < 2]  # of 56 a word takes 4 or 5
    assert left([documents(text=other)]) == expected
    assert left([documents(text=other)], 0.65) == [i for i in range(20) if i % 4 < 3]
    assert left([documents(text=other)], None) == [i for i in range(20) if i % 4 == 0]


def test_a_text_that_only_holds_another_stays():
    assert left([documents(text=[" ".join(words(2)[:30])])]) == []
    assert left([documents(text=[" ".join(words(2)[:50])])]) == [2]


@pytest.mark.parametrize("text", ["", "!?", "two words", "日本語"])
def test_short_texts_are_compared_whole(text: str):
    corpus = documents(text=[text, f"{text} and some more words here"])
    assert len(without(corpus, [documents(text=[text.upper()])])) == 1
    assert len(without(corpus, [documents(text=["something else"])])) == 2


class Once:
    """A column that is read in order, each row once, one at a time."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.read = texts, []

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, int):
            return np.array(self.texts, object)[rows]
        self.read.append(rows)
        return self.texts[rows]


def test_a_corpus_is_read_once():
    column = Once(CORPUS)
    found = without(Documents({"text": column}, digest="d"), [documents(text=CORPUS[:5])])
    assert column.read == list(range(20)) and len(found) == 15
    assert found.digest != "d"


def test_a_share_that_is_none_is_explained():
    with pytest.raises(DataError, match=r"near is a share above 0 and at most 1, or None; got 1.5"):
        without(documents(text=CORPUS), [], 1.5)
