"""Halves share nothing, and one configuration makes the same tasks of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contracts.test_protocols import family, items
from vitruvius.contracts import Documents, SealedError, Split
from vitruvius.techniques.protocols import AllAtOnce, ClassIncremental, Halves, ranked, swaps
from vitruvius.techniques.protocols.halves import fingerprints


def labels(split: Split) -> set[str]:
    return set(split.opened().documents.attributes["label"].tolist())


# Halves


@pytest.mark.parametrize("seed", range(5))
def test_halves_share_no_class_and_no_item(seed: int) -> None:
    halves = Halves.cut(family(11), seed)
    first, second = halves.tuning, halves.final
    assert len(labels(first)) == len(labels(second)) == 5
    assert not labels(first) & labels(second)
    assert not items(first.opened().documents) & items(second.opened().documents)


def test_the_half_that_is_reported_is_sealed() -> None:
    halves = Halves.cut(family(), 0)
    assert len(halves.tuning.documents) == 40
    with pytest.raises(SealedError, match="sealed"):
        _ = halves.final.documents
    swapped = halves.swapped()
    assert swapped.tuning.digest == halves.final.digest
    with pytest.raises(SealedError, match="sealed"):
        _ = swapped.final.documents
    assert set(halves.splits) == {"tuning", "final"}


def test_a_cut_follows_its_seed() -> None:
    first, again, other = (Halves.cut(family(), seed) for seed in (0, 0, 1))
    assert first.final.digest == again.final.digest != other.final.digest
    assert len(labels(Halves.cut(family(), 0, classes=2).final)) == 2


def two(first: list[Any], second: list[Any], x: Any = None, y: Any = None) -> Halves:
    a = Documents({"x": np.arange(len(first)) if x is None else x}, {"label": np.array(first)})
    b = Documents(
        {"x": np.arange(len(second)) + 50 if y is None else y}, {"label": np.array(second)}
    )
    return Halves.of(a, b)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: two(["a", "b"], ["b", "c"]), "share no class; 1 are in both, such as 'b'"),
        (lambda: two(["a", "b"], ["c", "c"]), "as many classes in each; got 2 and 1"),
        (lambda: two(["a"], ["b"], y=np.array([0])), "share no item; 1 of the second"),
        (
            lambda: two(["a"], ["b"], np.array(["same"], object), np.array(["same"], object)),
            "share no item; 1 of the second are in the first, such as number 0",
        ),
        (lambda: Halves.cut(family(4), 0, classes=3), "1 to 2 classes for each half of 4; got 3"),
        (lambda: Halves.cut(family(4), 0, label="kind"), "no attribute 'kind'"),
    ],
)
def test_what_is_no_family_in_halves_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_fingerprint_is_of_the_payload_alone() -> None:
    x = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    found = fingerprints(Documents({"x": x}, {"label": np.array([0, 1, 2])}))
    assert found[0] == found[1] != found[2]
    texts = Documents({"text": np.array(["a", "b", "a"], object)})
    assert fingerprints(texts)[0] == fingerprints(texts)[2] != fingerprints(texts)[1]


# Tasks of classes


def test_one_configuration_makes_the_same_tasks_of_both_halves() -> None:
    scenario, halves = ClassIncremental(each=2, first=4, memory=7), Halves.cut(family(16), 3)
    for half in (halves.tuning, halves.final):
        for order in range(3):
            state = scenario.arrange(half.opened().documents, order)
            assert state.fitted["scenario"].values == {"tasks": [4, 2, 2], "memory": 7}
            for split in state.splits.values():
                found = split.documents.attributes
                per_class = np.bincount(found["label"], minlength=8)
                assert (per_class == per_class[0]).all()
                sizes = [len(set(found["label"][found["task"] == t])) for t in range(3)]
                assert sizes == [4, 2, 2]


def test_classes_come_in_the_order_of_their_numbers() -> None:
    found = ClassIncremental(each=2).arrange(family(), 1).splits["train"].documents.attributes
    assert np.array_equal(found["task"], found["label"] // 2)


def test_all_orders_of_classes_are_drawn() -> None:
    scenario, documents = ClassIncremental(each=1), family(3)
    tasks = [scenario.arrange(documents, order).task for order in range(60)]
    assert len({task.labels for task in tasks if task is not None}) == 6


def test_what_is_held_out_may_be_named() -> None:
    documents = family(4)
    marked = np.arange(len(documents)) % 2 == 0
    documents = documents.annotate({"late": marked})
    for scenario in (ClassIncremental(each=2, held_by="late"), AllAtOnce(held_by="late")):
        state = scenario.arrange(documents, 0)
        held = items(state.splits["validation"].documents)
        assert held == items(documents.take(np.flatnonzero(marked)))


def test_an_order_of_all_at_once_is_a_sample() -> None:
    documents = family(4, 20)
    first, second = (AllAtOnce(items=0.5).arrange(documents, o).splits["train"] for o in (0, 1))
    assert len(first.documents) == len(second.documents) == 4 * 8
    assert items(first.documents) != items(second.documents)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ClassIncremental(each=0), "at least one class in a task"),
        (lambda: ClassIncremental(memory=-1), "no negative memory"),
        (lambda: ClassIncremental(held=1.0), "held is a share above 0 and below 1; got 1.0"),
        (lambda: ClassIncremental(each=3).sizes(10), "cannot cut 10 classes into 3 and then 3"),
        (lambda: ClassIncremental(first=12).sizes(10), "cannot cut 10 classes into 12"),
        (lambda: AllAtOnce(items=0.0), "items one above 0 and at most 1"),
    ],
)
def test_what_is_no_scenario_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_swaps_are_pairs_that_stand_the_other_way_round() -> None:
    assert swaps(["a", "b", "c"], ["a", "b", "c"]) == 0
    assert swaps(["a", "b", "c"], ["b", "a", "c"]) == 1
    assert swaps(["a", "b", "c"], ["c", "b", "a"]) == 3
    assert ranked({}) == []
