"""Entities count when they are found exactly: against a counter written anew, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Predictions
from vitruvius.techniques.metrics import SpanF1
from vitruvius.techniques.metrics.span_f1 import spans

TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def predictions(said: list[list[str]], true: list[list[str]]) -> Predictions:
    """Tags of the words of each sentence."""
    number = TAGS.index
    values = torch.eye(len(TAGS))[[number(tag) for one in said for tag in one]]
    targets = torch.tensor([number(tag) for one in true for tag in one])
    rows = torch.tensor([i for i, one in enumerate(true) for _ in one])
    return Predictions(values, targets, rows)


def entities(tags: list[str]) -> set[tuple[str, ...]]:
    """Written otherwise: the words of each entity, as strings, by following each beginning."""
    found = set()
    for at, tag in enumerate(tags):
        if tag == "O":
            continue
        kind = tag.split("-")[1]
        before = tags[at - 1] if at else "O"
        if tag.startswith("I") and before != "O" and before.split("-")[1] == kind:
            continue
        words = [str(at)]
        for place in range(at + 1, len(tags)):
            if tags[place] != "I-" + kind:
                break
            words.append(str(place))
        found.add((kind, *words))
    return found


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-X I-X O", [(0, 2, "X")]),
        ("B-X B-X", [(0, 1, "X"), (1, 2, "X")]),
        ("B-X I-Y", [(0, 1, "X"), (1, 2, "Y")]),
        ("I-X I-X O I-Y", [(0, 2, "X"), (3, 4, "Y")]),
        ("O B-Y I-Y I-Y", [(1, 4, "Y")]),
        ("B-X I-X B-X I-X", [(0, 2, "X"), (2, 4, "X")]),
        ("", []),
    ],
)
def test_entities_of_tags(tags: str, expected: list) -> None:
    assert spans(tags.split()) == expected


def test_a_worked_example() -> None:
    said = [["B-X", "I-X", "O", "B-Y"], ["O", "B-X", "O"], ["O", "O"]]
    true = [["B-X", "I-X", "O", "B-X"], ["B-X", "I-X", "O"], ["O", "O"]]
    measured = SpanF1(TAGS).measure(predictions(said, true))
    # said X[0:2], Y[3:4], X[1:2]; true X[0:2], X[3:4], X[0:2]: 1 of 3 right on either side
    assert measured.value == pytest.approx(1 / 3)
    assert (measured.name, measured.better, measured.items) == ("span_f1", "higher", 3)
    # influences of the sentences: (2 - 4/3, 0 - 2/3, 0) / 2 = (1/3, -1/3, 0)
    spread = np.std([1 / 3, -1 / 3, 0.0], ddof=1)
    assert measured.stderr == pytest.approx(spread / 3**0.5)


def test_all_right_all_wrong_and_nothing_at_all() -> None:
    some = [["B-X", "O"], ["B-Y", "I-Y"]]
    none = [["O", "O"], ["O", "O"]]
    assert SpanF1(TAGS).measure(predictions(some, some)).value == 1.0
    assert SpanF1(TAGS).measure(predictions(none, some)).value == 0.0
    assert SpanF1(TAGS).measure(predictions(some, none)).value == 0.0
    assert SpanF1(TAGS).measure(predictions(none, none)).value == 1.0


def test_entities_do_not_cross_sentences() -> None:
    said, true = [["B-X"], ["I-X"]], [["B-X"], ["I-X"]]
    apart, joined = predictions(said, true), predictions([["B-X", "I-X"]], [["B-X", "I-X"]])
    wrong = predictions([["B-X", "O"]], [["B-X", "I-X"]])
    assert SpanF1(TAGS).measure(joined).value == 1.0
    assert SpanF1(TAGS).measure(wrong).value == 0.0
    halves = Predictions(wrong.values, wrong.targets, apart.rows)
    assert SpanF1(TAGS).measure(halves).value == pytest.approx(2 / 3)


@given(st.data())
def test_it_equals_a_counter_written_otherwise(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    tag = st.sampled_from(TAGS)
    said, true = (
        [data.draw(st.lists(tag, min_size=n, max_size=n)) for n in sizes] for _ in range(2)
    )
    right = sum(len(entities(a) & entities(b)) for a, b in zip(said, true, strict=True))
    all_said, all_true = sum(map(len, map(entities, said))), sum(map(len, map(entities, true)))
    expected = 2 * right / (all_said + all_true) if all_said + all_true else 1.0
    assert SpanF1(TAGS).measure(predictions(said, true)).value == pytest.approx(expected)


def test_the_spread_is_that_of_drawing_sentences() -> None:
    rng = np.random.default_rng(0)
    true = [list(rng.choice(TAGS, rng.integers(1, 8))) for _ in range(300)]
    said = [[t if rng.random() < 0.7 else str(rng.choice(TAGS)) for t in one] for one in true]
    measured = SpanF1(TAGS).measure(predictions(said, true))
    again = []
    for _ in range(200):
        drawn = rng.integers(0, 300, 300)
        sample = predictions([said[i] for i in drawn], [true[i] for i in drawn])
        again.append(SpanF1(TAGS).measure(sample).value)
    assert measured.stderr == pytest.approx(float(np.std(again)), rel=0.2)


def test_what_is_no_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="in front; got 'X-Y'"):
        SpanF1(("O", "X-Y"))
    with pytest.raises(ValueError, match=r'SpanF1\.tags must hold "O"'):
        SpanF1(("B-X",))
    with pytest.raises(ValueError, match=r"SpanF1 has 3 tags and predictions of 5 classes"):
        SpanF1(("O", "B-X", "I-X")).measure(predictions([["O"]], [["O"]]))
