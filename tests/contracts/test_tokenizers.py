"""What every tokenizer keeps: specials first, offsets into the text, the same in every process."""

import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.catalogue import catalogue
from vitruvius.contracts import SPECIALS, Codec, Documents, Fitted, Given, Tokenizer
from vitruvius.space import replay, sample
from vitruvius.techniques.tokenizers import (
    BPE,
    Bytes,
    Characters,
    Unigram,
    WordPiece,
    rows,
    trained,
)

EVERY = catalogue(Tokenizer)
SMALL = {
    Bytes: Bytes(),
    Characters: Characters(300),
    BPE: BPE(400),
    WordPiece: WordPiece(400),
    Unigram: Unigram(300),
}
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "naïve",
    "tests",
    "check",
    "every",
    "tokenizer",
    "of",
    "ours",
    "and",
    "(some)",
    "of",
    "their",
    "words:",
    "日本語",
    "Straße",
    "x",
    "=",
    "f(y)",
    "+",
    "1",
]


def corpus(count: int = 80) -> Documents:
    rng = random.Random(0)
    texts = np.empty(count, object)
    texts[:] = [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) + "\n" for _ in range(count)]
    return Documents({"text": texts})


def built(of: type[Tokenizer]) -> Codec:
    return SMALL[of].build(SMALL[of].fit(Given(documents=corpus())))


CODECS = {of: built(of) for of in EVERY}
every = pytest.mark.parametrize("of", EVERY)
texts = st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@every
def test_the_specials_come_first_and_every_id_has_a_token(of: type[Tokenizer]):
    codec = CODECS[of]
    assert isinstance(codec, Codec)
    tokens = codec.tokens()
    assert (
        tokens[:7] == SPECIALS == ("<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<bos>", "<eos>")
    )
    assert len(tokens) == codec.vocabulary == len(set(tokens))


@every
@given(text=texts)
@settings(max_examples=60)
def test_any_text_is_encoded_with_offsets_and_words(of: type[Tokenizer], text: str):
    codec = CODECS[of]
    made = codec.encode(text)
    assert len(made.ids) == len(made.offsets) == len(made.words or ())
    assert all(7 <= i < codec.vocabulary or i == 1 for i in made.ids)
    assert all(0 <= start <= end <= len(text) for start, end in made.offsets)
    assert list(made.offsets) == sorted(made.offsets)
    steps = np.diff(np.array(made.words, int)) if made.words else np.array([])
    assert ((steps >= 0) & (steps <= 1)).all()
    decoded = codec.decode(made.ids)
    if getattr(codec, "lossless"):  # noqa: B009
        assert decoded == text
        assert 1 not in made.ids


@every
@given(many=st.lists(texts, max_size=6))
@settings(max_examples=40)
def test_many_at_once_equal_one_by_one(of: type[Tokenizer], many: list[str]):
    codec = CODECS[of]
    for words in (False, True):
        found = codec.encode_many(many, words)  # type: ignore[attr-defined]
        assert len(found) == len(many)
        for text, (ids, starts) in zip(many, found, strict=True):
            one = codec.encode(text)
            assert ids.tolist() == list(one.ids)
            assert (starts is None) == (not words)
            if words:
                assert (np.cumsum(starts, dtype=int) - 1).tolist() == list(one.words or ())


@every
def test_long_texts_are_encoded_in_pieces_with_the_same_tokens(
    of: type[Tokenizer], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trained, "CHARACTERS_AT_ONCE", 20)
    long = "the fox\n jumps  over\n\nwords: x\n\t= f(y)\nStraße\r\nand \n日本語 " * 5
    many = ["", long, "a", "\n" * 90, "x" * 90, long[7:]]
    found = CODECS[of].encode_many(many, True)  # type: ignore[attr-defined]
    for text, (ids, starts) in zip(many, found, strict=True):
        one = CODECS[of].encode(text)
        assert ids.tolist() == list(one.ids)
        assert (np.cumsum(starts, dtype=int) - 1).tolist() == list(one.words or ())


@every
def test_known_text_comes_back(of: type[Tokenizer]):
    text = "the naïve fox\n  (checks) x = f(y)"
    if of is WordPiece:
        assert (
            CODECS[of].decode(CODECS[of].encode(text).ids) == "the naive fox ( checks ) x = f ( y )"
        )
        cased = WordPiece(400, lowercase=False)
        codec = cased.build(cased.fit(Given(documents=corpus())))
        assert codec.decode(codec.encode("the naïve fox").ids) == "the naïve fox"
    else:
        assert CODECS[of].decode(CODECS[of].encode(text).ids) == text


@every
def test_a_text_cannot_spell_a_special(of: type[Tokenizer]):
    codec = CODECS[of]
    for name in SPECIALS:
        for text in (name, f"a{name}b", f" {name} "):
            ids = codec.encode(text).ids
            assert not {0, 2, 3, 4, 5, 6} & set(ids)
    assert codec.decode([0, 2, 3, 4, 5, 6]) == ""


@every
def test_offsets_point_at_what_a_token_says(of: type[Tokenizer]):
    codec, text = CODECS[of], "the fox checks"
    made = codec.encode(text)
    for i, (start, end) in zip(made.ids, made.offsets, strict=True):
        assert codec.decode([i]).strip() in text[start:end] or of is WordPiece
    covered = "".join(text[start:end] for start, end in made.offsets)
    assert covered.replace(" ", "") == text.replace(" ", "")


@every
def test_fitted_is_json_and_the_codec_pickles(of: type[Tokenizer]):
    node = SMALL[of]
    fitted = node.fit(Given(documents=corpus()))
    again = node.build(fitted and Fitted(values=json.loads(json.dumps(fitted.values))))
    copied = pickle.loads(pickle.dumps(again))
    for text in corpus(5).payload["text"]:
        expected = vars(CODECS[of].encode(text))
        assert vars(again.encode(text)) == vars(copied.encode(text)) == expected
    assert again.tokens() == CODECS[of].tokens()


@every
def test_space_samples_designs_that_build(of: type[Tokenizer]):
    designs = {replay(of.space(), sample(of.space(), random.Random(s))) for s in range(4)}
    for design in designs:
        assert design.build(design.fit(Given(documents=corpus()))).vocabulary > 7


PRINTS_A_DIGEST = """
import hashlib, sys
from tests.contracts.test_tokenizers import SMALL, corpus
from vitruvius.contracts import Given
for of, node in SMALL.items():
    fitted = node.fit(Given(documents=corpus()))
    print(of.__name__, hashlib.sha256(repr(fitted).encode()).hexdigest())
"""


def test_training_gives_the_same_in_every_process():
    said = {
        subprocess.run(
            [sys.executable, "-c", PRINTS_A_DIGEST],
            capture_output=True,
            text=True,
            check=True,
            env={"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
        ).stdout
        for threads in ("1", "2", "3")
    }
    assert len(said) == 1 and len(said.pop().splitlines()) == len(EVERY)


@pytest.mark.parametrize("of", [BPE, WordPiece, Unigram, Characters])
def test_a_vocabulary_larger_than_the_texts_allow_is_told(of: type[Tokenizer]):
    node = of(30_000)  # type: ignore[call-arg]
    fitted = node.fit(Given(documents=corpus()))
    assert fitted is not None
    assert fitted.values["asked"] == 30_000
    assert 7 < fitted.values["vocabulary"] < 2_000
    assert node.build(fitted).vocabulary == fitted.values["vocabulary"]


@pytest.mark.parametrize("of", [BPE, WordPiece, Unigram, Characters])
def test_wrong_input_is_explained(of: type[Tokenizer]):
    with pytest.raises(ValueError, match=f"{of.__name__}.vocabulary must be"):
        of(5)  # type: ignore[call-arg]
    empty = np.empty(2, object)
    empty[:] = ""
    with pytest.raises(ValueError, match=f"{of.__name__} needs texts to learn from"):
        of(400).fit(Given(documents=Documents({"text": empty})))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="needs what fit returned"):
        of(400).build(None)  # type: ignore[call-arg]


@pytest.mark.parametrize("of", [WordPiece, Unigram])
def test_a_vocabulary_below_the_characters_is_refused(of: type[Tokenizer]):
    with pytest.raises(ValueError, match=r"must be at least \d+ for these texts"):
        of(20).fit(Given(documents=corpus()))  # type: ignore[call-arg]


@every
def test_rows_of_a_changed_vocabulary(of: type[Tokenizer]):
    old = CODECS[BPE]
    same = rows(old, old)
    assert same == {i: (i,) for i in range(old.vocabulary)}
    found = rows(CODECS[of], old)
    assert set(found) == set(range(CODECS[of].vocabulary))
    word = CODECS[of].encode("fox").ids
    text = "".join(old.decode(found[i]) for i in word)
    assert text.replace("#", "") == "fox"


def test_halves_of_surrogate_pairs_do_not_break_it():
    for codec in CODECS.values():
        made = codec.encode("a \ud800 b")
        assert 2 <= len(made.ids) <= 7
    assert CODECS[Bytes].decode(CODECS[Bytes].encode("a\ud800").ids) == "a\ud800"
