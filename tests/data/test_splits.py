"""Splits are disjoint, complete, stratified, the same for a seed, and never cut a group."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vitruvius.contracts import Documents, SealedError, Task
from vitruvius.data import DataError, Loaded, open_data, split


def loaded(label: np.ndarray, classes: int = 0, **attributes: np.ndarray) -> Loaded:
    names = tuple(f"c{i}" for i in range(classes))
    group = "group" if "group" in attributes else None
    documents = Documents({"row": np.arange(len(label))}, {"label": label, **attributes})
    return Loaded(documents, Task("made", "item", names, group=group), "made", "table")


def rows(parts: dict) -> dict[str, list[int]]:
    return {n: s.opened().documents.payload["row"].tolist() for n, s in parts.items()}


@given(
    st.lists(st.integers(3, 60), min_size=2, max_size=6),
    st.floats(0.02, 0.45),
    st.floats(0.02, 0.45),
    st.integers(0, 5),
)
def test_stratified(sizes: list[int], validation: float, test: float, seed: int):
    label = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    data = loaded(label, len(sizes))
    parts = rows(split(data, validation, test, seed))
    assert sorted(r for part in parts.values() for r in part) == list(range(len(label)))
    for share, part in ((validation, parts["validation"]), (test, parts["test"])):
        counts = Counter(label[part].tolist())
        for c, size in enumerate(sizes):
            assert counts[c] >= 1
            assert abs(counts[c] - share * size) <= 1
    assert set(label[parts["train"]].tolist()) == set(range(len(sizes)))
    assert parts == rows(split(data, validation, test, seed))


@given(st.integers(3, 300), st.floats(0.02, 0.45), st.floats(0.02, 0.45))
def test_numbers_are_cut_at_random(size: int, validation: float, test: float):
    data = loaded(np.linspace(0, 1, size).astype(np.float32))
    parts = rows(split(data, validation, test))
    assert sorted(r for part in parts.values() for r in part) == list(range(size))
    for share, part in ((validation, parts["validation"]), (test, parts["test"])):
        assert abs(len(part) - share * size) <= 1
    assert parts["train"]


@given(st.lists(st.integers(1, 12), min_size=8, max_size=60), st.integers(0, 3))
def test_a_group_is_never_cut(sizes: list[int], seed: int):
    group = np.repeat(np.arange(len(sizes)), sizes)
    data = loaded(np.linspace(0, 1, len(group)).astype(np.float32), group=group)
    parts = rows(split(data, 0.2, 0.2, seed))
    assert sorted(r for part in parts.values() for r in part) == list(range(len(group)))
    of = [set(group[part].tolist()) for part in parts.values()]
    assert all(of) and not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])
    for name in ("validation", "test"):
        assert abs(len(parts[name]) - 0.2 * len(group)) <= max(sizes)


def test_groups_keep_the_shares_of_classes():
    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(200), 5)
    label = (generator.random(200) < 0.2).astype(np.int64).repeat(5)
    parts = rows(split(loaded(label, 2, group=group), 0.2, 0.2))
    share = label.mean()
    for name, size in (("train", 600), ("validation", 200), ("test", 200)):
        assert abs(len(parts[name]) - size) <= 15
        assert abs(label[parts[name]].mean() - share) < 0.02


def test_seeds_differ_and_test_is_sealed():
    data = open_data("digits")
    one, two = split(data, seed=0), split(data, seed=1)
    assert list(one) == ["train", "validation", "test"]
    assert one["train"].digest != two["train"].digest
    assert one["train"].digest == split(data, seed=0)["train"].digest
    with pytest.raises(SealedError, match="sealed"):
        _ = one["test"].documents
    assert len(one["test"].opened().documents) == 359
    assert len(one["train"].documents) + len(one["validation"].documents) == 1797 - 359


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=12, max_size=60))
def test_given_parts_are_kept_and_lacking_ones_cut_from_training(given_parts: list[int]):
    part = np.array(given_parts, np.int8)
    assume((part == 0).sum() >= 3)
    data = loaded(np.linspace(0, 1, len(part)).astype(np.float32), split=part)
    made = rows(split(data))
    for i, name in enumerate(("train", "validation", "test")):
        if i and (part == i).any():
            assert made[name] == np.flatnonzero(part == i).tolist()
    assert set(made["train"]) <= set(np.flatnonzero(part == 0).tolist())
    assert all(made.values())


def test_wrong_splits():
    label = np.array([0] * 9 + [1] * 2)
    with pytest.raises(DataError, match=r"too few rows to split in class 'c1 \(2\)'.* least 3"):
        split(loaded(label, 2))
    with pytest.raises(DataError, match=r"has 2 rows, too few to split"):
        split(loaded(np.array([0.5, 1.5])))
    fine = loaded(np.arange(20) % 2, 2)
    for shares in ((0.0, 0.2), (0.2, 1.0), (-0.1, 0.2), (0.2, float("nan"))):
        with pytest.raises(DataError, match="between 0 and 1"):
            split(fine, *shares)
    with pytest.raises(DataError, match="leave nothing to train on"):
        split(fine, 0.5, 0.5)
    with pytest.raises(DataError, match="no row of the training part"):
        split(loaded(np.arange(4) % 2, 2, split=np.ones(4, np.int8)))
    with pytest.raises(DataError, match="own training part has no row of class 'c1'"):
        split(loaded(np.array([0, 0, 1]), 2, split=np.array([0, 0, 2], np.int8)))
    with pytest.raises(DataError, match="has 2 groups, too few"):
        split(loaded(np.arange(20) % 2, 2, group=np.arange(20) // 10))
    with pytest.raises(DataError, match="puts rows of one group into two parts"):
        split(loaded(np.arange(4) % 2, 2, group=np.zeros(4, int), split=np.array([0, 0, 1, 2])))
    with pytest.raises(DataError, match="training part has no row of class"):
        split(loaded(np.repeat([0, 1, 2], 8), 3, group=np.repeat([5, 6, 7], 8)))
