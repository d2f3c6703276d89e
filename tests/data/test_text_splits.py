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


def test_parts_that_the_data_names_are_kept_without_what_is_like_a_later_one():
    own = np.zeros(200, np.int8)
    own[1::4], own[3::4] = 1, 2  # rows 4 i + 3 are like rows 4 i + 2 before them
    for classes in (0, 3):
        parted = split_texts(corpus(classes=classes, split=own))
        train, validation, test = rows(parted)
        assert train == list(range(0, 200, 4))
        assert validation == list(range(1, 200, 4)) and test == list(range(3, 200, 4))
        assert parted.notes == ("50 of train left out: like a text of validation or test.",)
    assert len(rows(split_texts(corpus(split=own), near=None))[0]) == 100


@pytest.mark.parametrize(("named", "missing"), [(1, "test"), (2, "validation")])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_part_that_the_data_does_not_name_is_cut_from_training(
    named: int, missing: str, classes: int
):
    own = np.where(np.arange(200) < 160, 0, named).astype(np.int8)
    parted = split_texts(corpus(classes=classes, split=own))
    found = rows(parted)
    assert found[named] == list(range(160, 200))
    assert len(found[3 - named]) == pytest.approx(16, abs=3)
    assert sorted(row for part in found for row in part) == list(range(200))
    assert all(row + 1 in part for part in found for row in part if row % 4 == 2)
    assert parted.notes[0] == f"The data names no {missing} part: it is cut from the training part."


def other(level: str, count: int = 120) -> Loaded:
    """Rows 4 i + 3 are like the one before in what is compared; groups are of four."""
    plain = corpus(count)
    texts = list(plain.documents.payload["text"])
    known: dict[str, Any] = {"row": np.arange(count), "group": np.arange(count) // 4}
    payload: dict[str, Any] = {"text": Texts.of(texts[::-1]), "other": Texts.of(texts)}
    labels: tuple[str, ...] = ()
    if level == "set":
        queries = [f"what is {i}?" for i in range(count)]
        payload = {"query": Texts.of(queries), "positive": Texts.of(texts)}
    elif level == "token":
        words = np.empty(count, object)
        words[:] = [tuple(text.split()) for text in texts]
        payload, labels = {"words": words}, ("O", "B-X")
        known["label"] = np.arange(count * 90).reshape(count, 90) % 2
    else:
        payload["text"] = Texts.of(["it says"] * count)
        known["label"] = np.linspace(0, 1, count)
    documents = Documents(payload, known, level)
    return Loaded(documents, Task(level, level, labels), "corpus", "text")  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["pair", "set", "token"])
def test_every_level_is_split_without_leaks(level: str):
    found = rows(split_texts(other(level)))
    assert sorted(row for part in found for row in part) == list(range(120))
    assert [len(part) for part in found] == pytest.approx([96, 12, 12], abs=3)
    assert all(row + 1 in part for part in found for row in part if row % 4 == 2)
    leaking = rows(split_texts(other(level), near=None))
    assert any(row + 1 not in part for part in leaking for row in part if row % 4 == 2)
    grouped = rows(split_texts(other(level), by="group"))
    assert all(row // 4 * 4 in part for part in grouped for row in part)
    assert rows(split_texts(other(level), seed=1)) != found


@pytest.mark.parametrize("level", ["pair", "set", "token"])
def test_every_level_keeps_parts_of_its_own(level: str):
    loaded = other(level)
    own = np.zeros(120, np.int8)
    own[3::4], own[1::8] = 2, 1
    documents = loaded.documents.annotate({"split": own})
    parted = split_texts(Loaded(documents, loaded.task, "corpus", "text"))
    assert rows(parted)[2] == list(range(3, 120, 4))
    assert not any(row % 4 == 2 for row in rows(parted)[0])
    crossing = Loaded(documents, loaded.task, "corpus", "text")
    with pytest.raises(DataError, match=r"its own split puts (rows|texts) of one group into two"):
        split_texts(crossing, by="group", near=None)


def test_parts_of_its_own_that_do_not_fit_are_explained():
    with pytest.raises(DataError, match="names no text of the training part"):
        split_texts(corpus(split=np.ones(200, np.int8)))
    times = np.arange(200).astype("M8[s]")
    with pytest.raises(DataError, match=r"has parts of its own already. Split it by='document'"):
        split_texts(corpus(split=np.zeros(200, np.int8), time=times), by="time")


def test_a_label_with_two_examples_is_told_and_where_parts_are_given_they_may_do():
    loaded = corpus(classes=3)
    label = np.arange(200) % 2
    label[[0, 4]] = 2
    known = {"row": np.arange(200), "label": label}

    def made(**more: Any) -> Loaded:
        documents = Documents(loaded.documents.payload, {**known, **more}, str(more))
        return Loaded(documents, loaded.task, "corpus", "text")

    for near in (None, 0.8):
        with pytest.raises(DataError, match=r"class 'class 2 \(2\)'; each class needs at least 3"):
            split_texts(made(), near=near)
    own = np.where(np.arange(200) < 160, 0, 2).astype(np.int8)
    found = rows(split_texts(made(split=own), near=None))
    assert {0, 4} & set(found[0]) and {0, 4} & set(found[1])
    assert {0, 4} & set(rows(split_texts(made(split=own)))[0])


def test_a_rare_class_of_data_with_parts_of_their_own_is_only_trained_on() -> None:
    texts = [f"text number {i} of some class with words {i * i}" for i in range(21)]
    label = np.array([0, 1] * 10 + [2])
    parts = np.array([0] * 14 + [2] * 6 + [0])
    documents = Documents({"text": Texts.of(texts)}, {"label": label, "split": parts})
    loaded = Loaded(documents, Task("t", "item", ("a", "b", "c")), "t", "text")
    parted = split_texts(loaded, near=None)
    train, held = (parted.splits[n].documents.attributes["label"] for n in ("train", "validation"))
    assert 2 in train and 2 not in held and len(held) >= 2
    assert any("only trained on: 'c (1)'" in note for note in parted.notes)
