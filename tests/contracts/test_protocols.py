"""Every scenario holds out the same items in each order; every protocol says what it found."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contracts.common import example, name
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Documents, Evaluator, Scenario

SCENARIOS, PROTOCOLS = catalogue(Scenario), catalogue(Evaluator)
every = pytest.mark.parametrize("cls", SCENARIOS, ids=name)


def family(classes: int = 10, each: int = 8, seed: int = 0) -> Documents:
    rng = np.random.default_rng(seed)
    label = np.repeat([f"class {c}" for c in range(classes)], each)
    rows = rng.permutation(len(label))
    x = rng.normal(size=(len(label), 3)).astype(np.float32)
    return Documents({"x": x[rows]}, {"label": label[rows]})


def items(documents: Documents) -> set[bytes]:
    return {row.tobytes() for row in documents.payload["x"][:]}


@every
def test_what_is_held_out_is_the_same_in_every_order(cls: type[Scenario]) -> None:
    scenario, documents = example(cls), family()
    states = [scenario.arrange(documents, order) for order in range(4)]
    parts = [{n: s.documents for n, s in state.splits.items()} for state in states]
    held = [items(part["validation"]) for part in parts]
    assert all(one == held[0] for one in held) and held[0]
    assert not any(items(part["train"]) & held[0] for part in parts)


@every
def test_an_order_is_a_seed(cls: type[Scenario]) -> None:
    scenario, documents = example(cls), family()
    first, again, other = (scenario.arrange(documents, order) for order in (1, 1, 2))
    assert first.task is not None and again.task is not None and other.task is not None
    assert first.task.labels == again.task.labels != other.task.labels
    digests = [state.splits["train"].digest for state in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


@every
def test_classes_are_numbered_as_the_task_names_them(cls: type[Scenario]) -> None:
    documents = family()
    state = example(cls).arrange(documents, 3)
    assert state.task is not None
    named = {
        x.tobytes(): name
        for x, name in zip(documents.payload["x"][:], documents.attributes["label"], strict=True)
    }
    for split in state.splits.values():
        found = split.documents
        for x, label in zip(found.payload["x"][:], found.attributes["label"], strict=True):
            assert state.task.labels[label] == named[x.tobytes()]


@every
def test_equal_families_make_one_scenario(cls: type[Scenario]) -> None:
    scenario = example(cls)
    states = [scenario.arrange(family(seed=s), o) for s in (0, 1) for o in (0, 5)]
    told = [state.fitted["scenario"].values for state in states]
    assert all(one == told[0] for one in told)


@every
def test_a_class_needs_items_in_both_parts(cls: type[Scenario]) -> None:
    label = np.array([0] * 5 + [1] * 5 + [2] * 5 + [3] * 5 + [4])
    documents = Documents({"x": np.arange(len(label))}, {"label": label})
    with pytest.raises(ValueError, match="Class 4 needs items to learn from and items held out"):
        example(cls).arrange(documents, 0)


@every
def test_a_missing_label_is_said(cls: type[Scenario]) -> None:
    with pytest.raises(ValueError, match="no attribute 'label' that names the class"):
        example(cls).arrange(Documents({"x": np.zeros(3)}), 0)


@pytest.mark.parametrize("cls", PROTOCOLS, ids=name)
def test_a_protocol_counts_from_1(cls: type[Evaluator]) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}.trials must be at least 1; got 0"):
        example(cls).replace(trials=0)


@pytest.mark.parametrize("cls", PROTOCOLS, ids=name)
def test_a_verdict_is_pure_and_leaves_it_open(cls: type[Evaluator]) -> None:
    table = {
        "phase": np.array([1, 1, 1, 1, 2, 2]),
        "trial": np.array([0, 0, 1, 1, -1, -1]),
        "order": np.array([0, 1, 0, 1, 2, 3]),
        "score": np.array([np.nan, np.nan, 0.5, 0.7, 0.4, 0.5]),
        "chosen": np.array([False, False, True, True, True, True]),
        "flops": np.ones(6),
        "seconds": np.ones(6),
        "parameters": np.ones(6, int),
    }
    if cls.__name__ == "Conventional":
        table = {name: column[:4] for name, column in table.items()}
    found = [example(cls).verdict(table) for _ in range(2)]
    assert found[0] == found[1] and found[0].holds is None
    evidence = found[0].evidence
    assert evidence["tuned"] == pytest.approx(0.6)
    assert (evidence["designs"], evidence["failed"]) == (2, 1)
    assert evidence["mean"] == pytest.approx(0.6 if cls.__name__ == "Conventional" else 0.45)
