"""No text, source or time is on two sides."""

import random
from typing import Any

import numpy as np
import pytest

from vitruvius.contracts import Documents, SealedError, Task
from vitruvius.data import DataError
from vitruvius.data.loaded import Loaded
from vitruvius.data.text_splits import Parted, split_texts
from vitruvius.data.texts import Texts


def corpus(count: int = 200, classes: int = 0, **attributes: Any) -> Loaded:
    """Every fourth text is a near duplicate of the one before."""
    rng = random.Random(0)
    texts: list[str] = []
    for i in range(count):
        words = [f"w{rng.randrange(5000)}" for _ in range(80)]
        texts.append(f"{texts[-1]} more" if i % 4 == 3 else " ".join(words))
    known = {"row": np.arange(count), **attributes}
    if classes:
        known["label"] = np.arange(count) // 4 % classes
    names = tuple(f"class {c}" for c in range(classes))
    documents = Documents({"text": Texts.of(texts)}, known)
    return Loaded(documents, Task("texts", "item", names), "corpus", "text")


def rows(parted: Parted) -> list[list[int]]:
    test = parted.splits["test"].opened()
    parts = [parted.splits["train"], parted.splits["validation"], test]
    return [p.documents.attributes["row"].tolist() for p in parts]


@pytest.mark.parametrize("classes", [0, 3])
def test_near_duplicates_stay_on_one_side(classes: int):
    parted = split_texts(corpus(classes=classes))
    found = rows(parted)
    assert sorted([row for part in found for row in part]) == list(range(200))
    for part in found:
        assert all(row + 1 in part for row in part if row % 4 == 2)
    assert [len(part) for part in found] == pytest.approx([160, 20, 20], abs=3)
    assert "50 near duplicates" in parted.notes[0]
    assert rows(split_texts(corpus(classes=classes))) == found
    assert rows(split_texts(corpus(classes=classes), seed=1)) != found
    with pytest.raises(SealedError):
        parted.splits["test"].documents  # noqa: B018


def test_without_looking_for_them_they_would_leak():
    found = rows(split_texts(corpus(), near=None))
    assert any(row % 4 == 2 and row + 1 not in part for part in found for row in part)


def test_sources_stay_on_one_side_with_what_is_like_them():
    sources = np.array([f"s{i // 10}" for i in range(200)], np.dtypes.StringDType())
    found = rows(split_texts(corpus(source=sources), by="source"))
    of = [{row // 10 for row in part} for part in found]
    assert not of[0] & of[1] and not of[0] & of[2] and not of[1] & of[2]
    for part in found:  # rows 10 i + 9 and 10 i + 10 are alike where 10 i + 10 is 3 mod 4
        assert all(row - 1 in part for row in part if row % 4 == 3)


def test_by_time_the_latest_is_tested_and_no_copy_is_seen_before():
    times = np.array("2020-01-01", "M8[s]") + np.arange(200)[::-1] // 2 * np.timedelta64(1, "D")
    times[5] = np.datetime64("NaT")
    parted = split_texts(corpus(time=times), by="time")
    train, validation, test = rows(parted)
    assert times[train].max() < times[validation].min()
    assert times[validation].max() < times[test].min()
    everywhere = [*train, *validation, *test]
    assert 5 not in everywhere
    for early, late in ((train, validation), (train, test), (validation, test)):
        assert not {r // 4 for r in early if r % 4 >= 2} & {r // 4 for r in late if r % 4 >= 2}
    assert parted.notes[0] == "Texts without a time, left out: 1."
    assert len(everywhere) >= 195


def test_wrong_input_is_explained():
    with pytest.raises(DataError, match="shares above 0"):
        split_texts(corpus(), test=1.0)
    with pytest.raises(DataError, match="has no times to split by"):
        split_texts(corpus(), by="time")
    with pytest.raises(DataError, match=r"no 'author' to split by. There is 'document' and 'row'"):
        split_texts(corpus(), by="author")
    with pytest.raises(DataError, match="3 texts in 1 groups"):
        split_texts(corpus(3, source=np.zeros(3, int)), by="source")
    same = np.array(["2020-01-01"] * 200, "M8[s]")
    with pytest.raises(DataError, match="too few to split by time"):
        split_texts(corpus(time=same), by="time")


def test_a_label_with_one_example_is_told():
    loaded = corpus(classes=3)
    label = loaded.documents.attributes["label"].copy()
    label[label == 2] = 1
    label[0] = 2
    known = {"row": loaded.documents.attributes["row"], "label": label}
    documents = Documents(loaded.documents.payload, known, "one example")
    one = Loaded(documents, loaded.task, "corpus", "text")
    with pytest.raises(DataError, match=r"too few rows to split in class 'class 2 \(1\)'"):
        split_texts(one, near=None)
    with pytest.raises(DataError, match=r"too few texts to split in class 'class 2 \(1\)'"):
        split_texts(one)
