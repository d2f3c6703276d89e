"""Shortened: its invariants, on real docstrings and on any text."""

from __future__ import annotations

import itertools
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline import text_data
from vitruvius.contracts import Codec, Documents, Fitted, Given
from vitruvius.techniques.encoders import Shortened
from vitruvius.techniques.encoders.shortened import NEGATIONS, shorten, words_of
from vitruvius.techniques.tokenizers import BPE, Bytes, WordPiece

EVERY = [
    Shortened(stopwords=s, punctuation=p, rare=f, repeated=r)
    for s, p, f, r in itertools.product((False, True), (False, True), (1, 3), (False, True))
]
OFF = Shortened(stopwords=False)
FEW = st.sampled_from(
    ["the", "Of", "of", "it", "It's", "cat", "don\u2019t", "not", " ", " ", "\n", "-", "'", ".",
     ",", "(", ")", "_", "日本", "。", "हिन्दी", "é", "ß", "\x00"]
)  # fmt: skip
ANY = st.one_of(st.lists(FEW, max_size=30).map("".join), st.text(max_size=60))


def documents(texts: Iterable[str], **more: Iterable[str]) -> Documents:
    def column(items: Iterable[str]) -> np.ndarray:
        found = list(items)
        made = np.empty(len(found), object)
        made[:] = found
        return made

    return Documents({"text": column(texts), **{n: column(c) for n, c in more.items()}})


DOCSTRINGS = [text for text, _ in text_data.rows()]
SEEN = documents(DOCSTRINGS)
FITTED = {encoder: encoder.fit(Given(documents=SEEN)) for encoder in EVERY}


def made(encoder: Shortened, texts: list[str], fitted: Fitted | None = None) -> list[str]:
    known = fitted or FITTED[encoder]
    return list(encoder.apply(documents(texts), Given(fitted=known)).payload["text"])


def is_part(part: list[str], whole: list[str]) -> bool:
    """Whether it is a subsequence."""
    rest = iter(whole)
    return all(word in rest for word in part)


def signs(text: str) -> list[str]:
    """Its marks but apostrophes, which may be part of a word."""
    ascii_marks = set(string.punctuation) - {"_"}
    found = [c for c in text if c in ascii_marks or unicodedata.category(c)[0] == "P"]
    return [c for c in found if c not in "_'\u2019"]


@pytest.fixture(scope="module")
def word_piece() -> Codec:
    tokenizer = WordPiece(600)
    return tokenizer.build(tokenizer.fit(Given(documents=SEEN)))


def test_with_all_off_the_documents_are_the_same() -> None:
    assert OFF.apply(SEEN, Given(fitted=FITTED[OFF])) is SEEN


def test_where_nothing_falls_a_text_is_the_same_to_the_character() -> None:
    text = "  tabs\tand\n\nlines\u00a0stay \n"
    fitted = Fitted(values={"stopwords": ["absent"], "known": None})
    assert made(Shortened(repeated=True), [text], fitted) == [text]


@pytest.mark.parametrize("encoder", EVERY, ids=repr)
def test_a_second_time_changes_nothing_and_no_word_changes_its_place(encoder: Shortened) -> None:
    once = made(encoder, DOCSTRINGS)
    assert made(encoder, once) == once
    for before, after in zip(DOCSTRINGS, once, strict=True):
        assert is_part(list(words_of(after)), list(words_of(before)))
        assert after.strip()
    if encoder != OFF:
        assert once != DOCSTRINGS


@given(ANY, st.sampled_from(EVERY))
def test_of_any_text(text: str, encoder: Shortened) -> None:
    (once,) = made(encoder, [text])
    assert made(encoder, [once]) == [once]
    before, after = list(words_of(text)), list(words_of(once))
    assert is_part(after, before)
    assert bool(after) == bool(before)
    if not before:
        assert once == text
    elif encoder.punctuation:
        assert not signs(once)
    else:
        assert signs(once) == signs(text)
    if encoder.repeated:
        assert max(Counter(after).values(), default=0) <= 1
    if encoder.rare > 1 or encoder.stopwords:
        values = FITTED[encoder].values
        falls = [w for w in after if w in values["stopwords"]]
        known = values["known"]
        rare = [w for w in after if known is not None and w not in known]
        assert not falls + rare or set(after) == set(before)


@pytest.mark.parametrize("encoder", EVERY, ids=repr)
def test_no_text_has_more_tokens_than_before(encoder: Shortened, word_piece: Codec) -> None:
    for codec in (word_piece, Bytes().build(None)):
        counts = [
            (len(codec.encode(before).ids), len(codec.encode(after).ids))
            for before, after in zip(DOCSTRINGS, made(encoder, DOCSTRINGS), strict=True)
        ]
        assert all(after <= before for before, after in counts)
        if encoder == OFF:
            assert all(after == before for before, after in counts)
        else:
            assert sum(a for _, a in counts) < sum(b for b, _ in counts)


@given(ANY, st.sampled_from(EVERY))
def test_no_text_of_any_kind_has_more_tokens(
    word_piece: Codec, text: str, encoder: Shortened
) -> None:
    (after,) = made(encoder, [text])
    for codec in (word_piece, Bytes().build(None)):
        assert len(codec.encode(after).ids) <= len(codec.encode(text).ids)


def test_tokens_of_bpe_fall_on_the_whole() -> None:
    tokenizer = BPE(600)
    codec = tokenizer.build(tokenizer.fit(Given(documents=SEEN)))
    before = sum(len(codec.encode(text).ids) for text in DOCSTRINGS)
    for encoder in EVERY:
        after = sum(len(codec.encode(text).ids) for text in made(encoder, DOCSTRINGS))
        assert after <= before and (after < before or encoder == OFF)


@pytest.mark.parametrize(
    ("encoder", "text", "expected"),
    [
        (Shortened(), "The state of it, is that not new?", " state, not new?"),
        (Shortened(), "I like it. So do they.", " like.."),
        (Shortened(), "the Cat\u2019s paw", " Cat\u2019s paw"),
        (Shortened(negations=False), "the cat is not here", " cat"),
        (Shortened(keep=("The",)), "The cat", "The cat"),
        (Shortened(), "it is what it was", "it is what it was"),
        (Shortened(punctuation=True), "a well-known, e.g. old_name!", " known e g old_name"),
        (Shortened(punctuation=True), "...", "..."),
        (Shortened(False, repeated=True), "A cat, a CAT\nand a dog.", "A cat,\nand dog."),
    ],
)
def test_by_hand(encoder: Shortened, text: str, expected: str) -> None:
    assert made(encoder, [text], encoder.fit(Given(documents=SEEN))) == [expected]


def test_rare_and_common_words_are_counted_in_texts_of_the_training_part() -> None:
    seen = documents(["der Hund der", "der Wal", "die Katze und der Wal", "und Wal und und"])
    fitted = Shortened(rare=2).fit(Given(documents=seen))
    assert fitted.values["known"] == ["der", "und", "wal"]
    learned = Shortened(language="any", common=0.75)
    assert learned.fit(Given(documents=seen)).values["stopwords"] == ["der", "wal"]
    kept = Shortened(language="any", common=0.75, keep=("Wal",))
    assert made(kept, ["Der Wal und die Maus"], kept.fit(Given(documents=seen))) == [
        " Wal und die Maus"
    ]


def test_both_texts_of_a_pair_are_shortened_and_count() -> None:
    pairs = documents(["the cat sat", "the dog sat"], other=["a cat", "a bird"], name=["the", "a"])
    encoder = Shortened(rare=2)
    fitted = encoder.fit(Given(documents=pairs))
    assert fitted.values["known"] == ["a", "cat", "sat", "the"]
    after = encoder.apply(pairs, Given(fitted=fitted)).payload
    assert {n: c.tolist() for n, c in after.items()} == {
        "text": [" cat sat", " sat"], "other": [" cat", "a bird"], "name": ["the", "a"],
    }  # fmt: skip


def test_negations_are_those_of_the_list() -> None:
    whole = Shortened(negations=False).fit(Given(documents=SEEN)).values["stopwords"]
    assert set(whole) >= NEGATIONS
    assert set(FITTED[Shortened()].values["stopwords"]) == set(whole) - NEGATIONS


def test_shorten_alone() -> None:
    assert shorten("one two three", {"two"}.__contains__) == "one three"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"language": "german"}, 'take "any", whose stop words are learned'),
        ({"rare": 0}, "Shortened.rare must be at least 1; got 0"),
        ({"common": 0.0}, "Shortened.common must be above 0 and at most 1; got 0.0"),
    ],
)
def test_bad_fields_are_refused(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Shortened(**fields)


def test_words_with_tags_are_refused() -> None:
    tagged = Documents({"words": np.array([("a", "b")], object)})
    with pytest.raises(ValueError, match="Of words with a tag each none may fall"):
        Shortened().fit(Given(documents=tagged))
