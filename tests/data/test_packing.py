"""Packing keeps every token, once, where the plan says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Array
from vitruvius.data import DataError
from vitruvius.data.filling import fill
from vitruvius.data.mapped import Resident
from vitruvius.data.packing import (
    Concatenated,
    Frame,
    Packed,
    Packer,
    Padded,
    Plan,
    first_fit_decreasing,
)
from vitruvius.data.tokens import Tokens

PACKERS = (Padded(), Packed(), Concatenated(), Concatenated(across=False))
FRAMES = (Frame(), Frame(before=2, after=3), Frame(after=6), Frame(before=5))
every = pytest.mark.parametrize("packer", PACKERS, ids=repr)
lengths = st.lists(st.integers(0, 40), max_size=40)


def tokens_of(sizes: list[int]) -> Tokens:
    """Ids that tell their document and place; a word begins at every third token."""
    ids = [1000 * (d + 1) + i for d, n in enumerate(sizes) for i in range(n)]
    begins = [int(i % 3 == 0) for n in sizes for i in range(n)]
    ends = np.cumsum(np.array([0, *sizes]))
    flags = Resident(np.array(begins, np.uint8))
    return Tokens(Resident(np.array(ids, np.int64)), ends[:-1], ends[1:], 10**6, flags)


def by_hand(sizes: list[int], capacity: int) -> list[int]:
    """First-fit decreasing, one item after the other."""
    room: list[int] = []
    bins = [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        place = next((b for b, r in enumerate(room) if r >= sizes[i]), len(room))
        if place == len(room):
            room.append(capacity)
        room[place] -= sizes[i]
        bins[i] = place
    return bins


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(30, 64))
def test_first_fit_decreasing_is_what_it_is_by_hand(sizes: list[int], capacity: int):
    bins = first_fit_decreasing(np.array(sizes, int), capacity)
    assert bins.tolist() == by_hand(sizes, capacity)
    held = np.bincount(bins, sizes) if sizes else np.zeros(0)
    assert (held <= capacity).all() and (held > 0).all()
    least = math.ceil(sum(sizes) / capacity)
    assert least <= len(held) <= 11 / 9 * max(least, 1) * 2 + 1


def test_first_fit_decreasing_keeps_its_bound_on_a_case_with_known_optimum():
    """Pieces of full bins: the optimum is their number."""
    rng = np.random.default_rng(0)
    cuts = [np.diff([0, *sorted(rng.choice(np.arange(1, 100), 3, False)), 100]) for _ in range(500)]
    bins = first_fit_decreasing(rng.permutation(np.concatenate(cuts)), 100)
    assert 500 <= bins.max() + 1 <= 11 / 9 * 500 + 1


@every
@given(sizes=lengths, capacity=st.integers(3, 24), frame=st.sampled_from(FRAMES))
def test_every_token_once_in_its_place(
    packer: Packer, sizes: list[int], capacity: int, frame: Frame
):
    tokens = tokens_of(sizes)
    plan = packer.plan(tokens.lengths, capacity, frame)
    made = fill(plan, tokens, np.arange(plan.rows), frame, capacity)
    specials = {frame.before, frame.after} - {None}
    content = made.ids[(made.segments > 0) & ~made.fixed]
    assert sorted(content.tolist()) == sorted(tokens.ids.array.tolist())
    assert set(made.ids[made.fixed].tolist()) <= specials
    assert not made.ids[made.segments == 0].any() and not made.fixed[made.segments == 0].any()
    assert (plan.filled == (made.segments > 0).sum(1)).all() and (plan.filled <= capacity).all()
    for row in range(plan.rows):
        _check_row(packer, made.ids[row], made.positions[row], made.segments[row], made.fixed[row])
    slots = plan.rows * capacity
    assert plan.waste == pytest.approx(float((made.segments == 0).mean()) if slots else 0.0)
    _check_cuts(packer, plan, sizes, capacity - frame.size)


def _check_row(packer: Packer, ids: Array, positions: Array, segments: Array, fixed: Array):
    filled = int((segments > 0).sum())
    assert (segments[:filled] > 0).all(), "padding is at the end alone"
    assert (np.diff(segments[:filled], prepend=0) >= 0).all()
    assert set(segments[:filled].tolist()) == set(range(1, int(segments.max(initial=0)) + 1))
    for segment in range(1, int(segments.max(initial=0)) + 1):
        inside = segments == segment
        assert positions[inside].tolist() == list(range(int(inside.sum())))
        found = ids[inside & ~fixed]
        documents = set((found // 1000).tolist())
        assert len(documents) <= 1 or packer == Concatenated()
        if len(documents) == 1:
            assert (np.diff(found) == 1).all(), "a part is a run of its document"


def _check_cuts(packer: Packer, plan: Plan, sizes: list[int], most: int):
    parts = np.bincount(plan.document, minlength=len(sizes))
    assert plan.cut == (parts > 1).sum() and plan.lost == 0
    if isinstance(packer, (Padded, Packed)):
        expected = [math.ceil(n / most) for n in sizes]
        if isinstance(packer, Padded):
            expected = [max(n, 1) for n in expected]
        assert parts.tolist() == expected
        held = plan.stop - plan.start
        whole = plan.stop == np.array(sizes, int)[plan.document]
        assert (held[~whole] == most).all(), "only the last part of a document is short"


@given(sizes=lengths, capacity=st.integers(3, 24), frame=st.sampled_from(FRAMES))
def test_concatenated_rows_are_full_and_in_order(sizes: list[int], capacity: int, frame: Frame):
    tokens = tokens_of(sizes)
    plan = Concatenated().plan(tokens.lengths, capacity, frame)
    stream = []
    for document, size in enumerate(sizes):
        body = [1000 * (document + 1) + i for i in range(size)]
        framed = [frame.before, *body, frame.after] if size else []
        stream += [token for token in framed if token is not None]
    made = fill(plan, tokens, np.arange(plan.rows), frame, capacity)
    assert made.ids[made.segments > 0].tolist() == stream
    assert (plan.filled[:-1] == capacity).all()


def test_words_are_numbered_through_a_row_and_specials_have_none():
    tokens = tokens_of([4, 3])
    plan = Packed().plan(tokens.lengths, 12, Frame(2, 3))
    made = fill(plan, tokens, np.array([0]), Frame(2, 3), 12)
    assert made.words is not None
    assert made.words.tolist() == [[-1, 0, 0, 0, 1, -1, -1, 2, 2, 2, -1, -1]]
    assert made.segments.tolist() == [[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0]]
    assert made.positions.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0]]
    assert made.documents.tolist() == [[0, 1]]
    cut = fill(Padded().plan(tokens.lengths, 2), tokens, np.array([3, 0, 1]), Frame())
    assert cut.words is not None and cut.words.tolist() == [[0, -1], [0, 0], [0, 1]]
    assert cut.ids.tolist() == [[2002, 0], [1000, 1001], [1002, 1003]]


def test_longer_documents_by_every_rule():
    sizes = np.array([10, 3, 0, 7])
    start = Padded(longer="start").plan(sizes, 6, Frame(2, 3))
    assert start.whole and start.lost == 6 + 3 and start.cut == 0
    assert start.lengths.tolist() == [6, 5, 2, 6]
    assert "9 tokens of documents longer than a row are left out" in start.note()
    for packer in (Padded(longer="leave_out"), Packed(longer="leave_out")):
        out = packer.plan(sizes, 6, Frame(2, 3))
        assert out.lost == 17 and 0 not in out.document and 3 not in out.document
    for packer in (Padded(longer="refuse"), Packed(longer="refuse")):
        with pytest.raises(DataError, match=r"2 of 4 documents are longer than the 4 tokens"):
            packer.plan(sizes, 6, Frame(2, 3))
        assert packer.plan(sizes, 12, Frame(2, 3)).lost == 0
    assert "2 documents are cut to rows of 6 tokens" in Packed().plan(sizes, 6).note()


def test_wrong_input_is_explained():
    with pytest.raises(ValueError, match=r"Padded\.longer is cut, start, leave_out or refuse"):
        Padded(longer="maybe")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no room beside 2 special tokens"):
        Packed().plan(np.array([3]), 2, Frame(2, 3))
    with pytest.raises(DataError, match="one length, from 0"):
        Packed().plan(np.array([-1]), 2)
    with pytest.raises(DataError, match="sizes from 1 to 4"):
        first_fit_decreasing(np.array([5]), 4)
    tokens = tokens_of([4])
    with pytest.raises(ValueError, match="width of at least 4"):
        fill(Packed().plan(tokens.lengths, 8), tokens, np.array([0]), Frame(), 3)


@every
def test_no_documents_give_no_rows(packer: Packer):
    plan = packer.plan(np.zeros(0, int), 8)
    assert plan.rows == 0 and plan.waste == 0.0 and len(plan.document) == 0


def test_a_million_documents_are_packed_with_little_waste():
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.lognormal(4.5, 0.9, 1_000_000).astype(int), 1, None)
    plan = Packed().plan(sizes, 512)
    assert plan.waste < 0.01 and int(plan.lengths.sum()) == int(sizes.sum())
