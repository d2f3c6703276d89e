"""Words that are given stay words, whatever a tokenizer makes of them."""

import pytest
import torch

from vitruvius.contracts import Documents, Encoding, Given
from vitruvius.data.packing import Frame
from vitruvius.data.tagged import encode_words, tokenise_words, word_labels
from vitruvius.techniques.tokenizers import BPE, Bytes, Characters, Unigram, WordPiece
from vitruvius.train.text_feeding import TextFeed

SENTENCES = [
    ["Selegiline", "-", "induced", "hypotension", "(", "BP", ")", "in", "Parkinson", "'", "s"],
    ["22", "-", "oxacalcitriol", "naïve", "…"],
    ["a"],
]
TEXTS = [" ".join(words) for words in SENTENCES] * 20


@pytest.mark.parametrize("made", [Bytes(), Characters(), BPE(400), WordPiece(300), Unigram(100)])
def test_each_word_has_its_pieces_in_order(made) -> None:
    import numpy as np

    documents = Documents({"text": np.array(TEXTS, dtype=object)})
    codec = made.build(made.fit(Given(documents=documents)))
    for words in SENTENCES:
        found = encode_words(codec, words)
        assert found.words is not None
        assert sorted(set(found.words)) == list(range(len(words)))
        assert list(found.words) == sorted(found.words)
        text = " ".join(words)
        for number, word in enumerate(words):
            spans = [o for o, w in zip(found.offsets, found.words, strict=True) if w == number]
            piece = text[min(a for a, _ in spans) : max(b for _, b in spans)]
            assert piece.strip() == word
        assert found.ids == codec.encode(text).ids


class Gone:
    """A codec that leaves nothing of zero-width spaces; each other character is a token."""

    vocabulary = 400
    specials = {"<unk>": 3}  # noqa: RUF012

    def tokens(self) -> tuple[str, ...]:
        return tuple(map(chr, range(400)))

    def decode(self, ids) -> str:
        return "".join(map(chr, ids))

    def encode(self, text: str) -> Encoding:
        kept = [(i, c) for i, c in enumerate(text) if c not in " \u200b"]
        return Encoding(tuple(ord(c) for _, c in kept), tuple((i, i + 1) for i, _ in kept))


def test_a_word_of_which_nothing_is_left_is_unknown() -> None:
    for words, expected in (
        (["a", "\u200b", "b"], [0, 1, 2]),
        (["\u200b", "ab"], [0, 1, 1]),
        (["ab", "\u200b", "\u200b"], [0, 0, 1, 2]),
    ):
        found = encode_words(Gone(), words)
        assert found.words is not None and list(found.words) == expected
        assert [i for i, w in zip(found.ids, found.words, strict=True) if words[w] == "\u200b"] == [
            3
        ] * words.count("\u200b")


def test_a_feed_of_words_brings_labels_by_word() -> None:
    labels = ("O", "B-X", "I-X")
    tags = [["B-X", "O", "O", "I-X", *["O"] * 7], ["B-X", "I-X", "I-X", "O", "O"], ["O"]]
    label, counts = word_labels(tags, labels)
    assert label.shape == (3, 11) and counts.tolist() == [11, 5, 1]
    tokens = tokenise_words(SENTENCES, Bytes().build(None))
    feed = TextFeed.of(tokens, 200, torch.device("cpu"), frame=Frame(2, 3), fields={"label": label})
    layout = (batch := feed.batch(torch.tensor([1, 0]))).streams["input"].layout
    assert layout.first_pieces.sum(1).tolist() == [5, 11]
    ids = batch.streams["input"].values
    firsts = bytes(int(i) - 7 for i in ids[0][layout.first_pieces[0]])
    assert firsts == b"2-on\xe2"  # of 22, -, oxacalcitriol, naïve and the dots
    assert batch.fields["label"][0, :5].tolist() == [1, 2, 2, 0, 0]


def test_an_unknown_tag_is_named() -> None:
    with pytest.raises(ValueError, match=r"the tag 'B-Y' is not among \['O', 'B-X'\]"):
        word_labels([["O", "B-Y"]], ("O", "B-X"))
