"""Masks: how many, whole units, never fixed or padding, the same for the same item and step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from tests.contracts.layouts import layout_of
from tests.contracts.texts import VOCABULARY, Letters, given, rows_of, token_batch
from vitruvius.contracts import SPECIALS, Batch, Corrupted, Progress, Stream
from vitruvius.techniques.policies import MaskPolicy, Shares, noise
from vitruvius.techniques.schedules import Constant, Linear

NOW = Progress(0, 0, 12, 0.0)
MASK = SPECIALS.index("<mask>")
documents = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=3), min_size=1, max_size=4)


def hide(policy: MaskPolicy, batch: Batch, seed: int = 0) -> Corrupted:
    return policy.hide(batch, NOW, given(seed))


def free_of(batch: Batch) -> torch.Tensor:
    layout = batch.streams["input"].layout
    assert layout.fixed is not None
    return (layout.segments > 0) & ~layout.fixed


@settings(max_examples=30)
@examples(documents, st.integers(0, 999), st.floats(0.05, 0.9))
def test_exact_counts_of_tokens(lengths: list[list[int]], seed: int, rate: float) -> None:
    batch = token_batch(lengths, seed)
    found = hide(MaskPolicy(rate=rate), batch, seed)
    assert found.chosen is not None
    for chosen, free in zip(found.chosen, free_of(batch), strict=True):
        n = int(free.sum())
        assert int(chosen.sum()) == (max(1, int(rate * n + 0.5)) if n else 0)
        assert found.most is not None and int(chosen.sum()) <= found.most <= len(chosen)


@pytest.mark.parametrize("count", ["exact", "independent"])
@pytest.mark.parametrize("unit", ["token", "word", "span"])
@settings(max_examples=30)
@examples(lengths=documents, seed=st.integers(0, 999), rate=st.floats(0.05, 0.9))
def test_fixed_positions_and_padding_are_never_hidden(
    unit: str, count: str, lengths: list[list[int]], seed: int, rate: float
) -> None:
    batch = token_batch(lengths, seed)
    found = hide(MaskPolicy(unit, rate, count=count), batch, seed)
    assert found.chosen is not None and found.changed is not None
    ids, shown = batch.streams["input"].values, found.batch.streams["input"].values
    assert not (found.chosen & ~free_of(batch)).any()
    assert torch.equal(found.targets["ids"], ids)
    assert torch.equal(found.weight["ids"], found.chosen.float())
    assert torch.equal(found.changed, ids != shown)
    assert not (found.changed & ~found.chosen).any()


@pytest.mark.parametrize("count", ["exact", "independent"])
@settings(max_examples=30)
@examples(lengths=documents, seed=st.integers(0, 999), rate=st.floats(0.05, 0.9))
def test_words_are_never_split(
    count: str, lengths: list[list[int]], seed: int, rate: float
) -> None:
    batch = token_batch(lengths, seed)
    chosen = hide(MaskPolicy("word", rate, count=count), batch, seed).chosen
    layout = batch.streams["input"].layout
    assert chosen is not None and layout.words is not None
    for row in range(len(chosen)):
        pieces: dict[tuple[int, int], set[bool]] = {}
        for at in free_of(batch)[row].nonzero().flatten().tolist():
            word = int(layout.segments[row, at]), int(layout.words[row, at])
            pieces.setdefault(word, set()).add(bool(chosen[row, at]))
        assert all(len(fates) == 1 for fates in pieces.values())


def long_batch(rows: int = 40, tokens: int = 2500) -> Batch:
    return token_batch([(tokens,)] * rows, padding=0)


@pytest.mark.parametrize("count", ["exact", "independent"])
@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_the_rate_is_met(unit: str, count: str) -> None:
    batch = long_batch()
    chosen = hide(MaskPolicy(unit, 0.15, count=count), batch).chosen
    assert chosen is not None
    assert chosen.sum() / free_of(batch).sum() == pytest.approx(0.15, abs=0.005)


def test_shares_are_met_and_replacements_are_no_specials() -> None:
    batch = long_batch()
    found = hide(MaskPolicy(rate=0.5), batch)
    ids, shown = batch.streams["input"].values, found.batch.streams["input"].values
    assert found.chosen is not None
    masked = found.chosen & (shown == MASK)
    swapped = found.chosen & ~masked & (shown != ids)
    drawn = found.chosen.sum()
    assert masked.sum() / drawn == pytest.approx(0.8, abs=0.01)
    ordinary = VOCABULARY - len(SPECIALS)
    assert swapped.sum() / drawn == pytest.approx(0.1 * (1 - 1 / ordinary), abs=0.01)
    counts = Counter(shown[swapped].tolist())
    assert set(counts) == set(range(len(SPECIALS), VOCABULARY))
    assert max(counts.values()) < 1.5 * min(counts.values())


def test_one_fate_for_a_whole_unit() -> None:
    batch = long_batch(4)
    policy = MaskPolicy("word", 0.5, Shares(0.5, 0.0, 0.5), together=True)
    found = hide(policy, batch)
    words, shown = batch.streams["input"].layout.words, found.batch.streams["input"].values
    assert words is not None and found.chosen is not None
    together = found.chosen[:, 1:] & found.chosen[:, :-1] & (words[:, 1:] == words[:, :-1])
    masked = shown == MASK
    assert together.any()
    assert torch.equal(masked[:, 1:][together], masked[:, :-1][together])
    apart = hide(policy.replace(together=False), batch).batch.streams["input"].values == MASK
    assert not torch.equal(apart[:, 1:][together], apart[:, :-1][together])


def test_spans_have_the_mean_length_that_was_asked() -> None:
    batch = long_batch()
    stream = batch.streams["input"]
    batch = replace(
        batch, streams={"input": Stream(stream.values, replace(stream.layout, words=None))}
    )
    chosen = hide(MaskPolicy("span", 0.02, span=4.0), batch).chosen
    assert chosen is not None
    runs = (chosen[:, 1:] & ~chosen[:, :-1]).sum() + chosen[:, 0].sum()
    cut = sum(0.75**k for k in range(10))  # mean of a geometric length that is cut at 10
    # spans are drawn evenly, so a run is as long as one; at 2 % few of them touch
    assert chosen.sum() / runs == pytest.approx(cut, rel=0.15)


def test_depends_on_item_seed_and_step_alone() -> None:
    batch, policy = token_batch(), MaskPolicy("word", 0.4)
    whole = hide(policy, batch, seed=3).batch.streams["input"].values
    order = torch.tensor([2, 0, 3])
    some = hide(policy, rows_of(batch, order), seed=3).batch.streams["input"].values
    assert torch.equal(some, whole[order])
    longer = token_batch(padding=9)
    stream, wide = batch.streams["input"], longer.streams["input"]
    assert wide.layout.words is not None and stream.layout.words is not None
    tokens = stream.values.shape[1]
    wide.values[:, :tokens] = stream.values
    wide.layout.words[:, :tokens] = stream.layout.words
    padded = hide(policy, longer, seed=3).batch.streams["input"].values
    assert torch.equal(padded[:, :tokens], whole)
    assert not torch.equal(hide(policy, batch, seed=4).batch.streams["input"].values, whole)


def test_two_documents_of_equal_words_get_masks_of_their_own() -> None:
    layout = layout_of([(20, 20), (20, 20)])
    layout = replace(layout, fixed=torch.zeros_like(layout.segments, dtype=torch.bool))
    batch = Batch({"input": Stream(torch.full((2, 40), 9), layout)}, {}, torch.tensor([5, 6]))
    chosen = hide(MaskPolicy(rate=0.5, count="independent"), batch).chosen
    assert chosen is not None
    four = [tuple(part.tolist()) for row in chosen for part in row.split(20)]
    assert len(set(four)) == 4


def test_noise_is_even_and_free_of_its_neighbours() -> None:
    rows, places = torch.meshgrid(torch.arange(300), torch.arange(300), indexing="ij")
    drawn = noise.uniform(1, rows, places)
    assert drawn.min() >= 0 and drawn.max() < 1
    histogram = torch.histc(drawn.float(), 50, 0, 1)
    assert (histogram - 1800).abs().max() < 5 * 1800**0.5
    near = torch.stack((drawn[:, 1:].flatten(), drawn[:, :-1].flatten()))
    assert torch.corrcoef(near)[0, 1].abs() < 0.02
    assert drawn.unique().numel() == drawn.numel()


def test_the_rate_may_follow_a_schedule() -> None:
    batch = long_batch(2)
    policy = MaskPolicy(rate=Linear(floor=0.2))
    late = policy.hide(batch, Progress(9, 0, 12, 0.75), given()).chosen
    assert late is not None
    assert late.sum() / free_of(batch).sum() == pytest.approx(0.4, abs=0.01)
    with pytest.raises(ValueError, match=r"MaskPolicy\.rate must be above 0 and below 1; got 1"):
        hide(MaskPolicy(rate=Constant()), batch)


def test_foreign_ids_of_specials_are_respected() -> None:
    class Foreign(Letters):
        specials = {"<pad>": 0, "<mask>": 20, "<sep>": 13}  # noqa: RUF012

    asked = given().but(tokenizer=Foreign())
    batch = long_batch(4)
    policy = MaskPolicy(rate=0.5, shares=Shares(0.1, 0.9, 0.0))
    found = policy.hide(batch, NOW, asked)
    ids, shown = batch.streams["input"].values, found.batch.streams["input"].values
    assert found.chosen is not None
    swapped = set(shown[found.chosen & (shown != ids)].tolist())
    assert swapped == set(range(1, VOCABULARY)) - {13}
    with pytest.raises(ValueError, match="has no <mask>; it has <pad>"):
        nothing = Foreign()
        nothing.specials = {"<pad>": 0}
        policy.hide(batch, NOW, given().but(tokenizer=nothing))


def test_words_that_are_not_known_are_asked_for() -> None:
    batch = token_batch()
    stream = batch.streams["input"]
    bare = Stream(stream.values, replace(stream.layout, words=None))
    with pytest.raises(ValueError, match="needs to know the words of a batch"):
        hide(MaskPolicy("word"), replace(batch, streams={"input": bare}))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"unit": "letter"}, r"MaskPolicy\.unit is one of 'token', 'word', 'span'; got 'letter'"),
        ({"count": "some"}, r"MaskPolicy\.count is one of"),
        ({"rate": 0.0}, r"MaskPolicy\.rate must be above 0 and below 1; got 0\.0"),
        ({"span": 0.5}, r"MaskPolicy\.span must be at least 1 word; got 0\.5"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        MaskPolicy(**fields)


def test_shares_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match=r"sum to 1; got \(0\.8, 0\.1, 0\.2\)"):
        Shares(0.8, 0.1, 0.2)


def test_nothing_of_torch_is_drawn_from() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    hide(MaskPolicy("span"), token_batch())
    assert torch.equal(torch.get_rng_state(), before)
