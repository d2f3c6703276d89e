"""Unigram language model over pieces.

Source: Kudo 2018, "Subword Regularization", arXiv:1804.10959, section 3.2.
Differs from the paper: the last scores are counts of the best segmentations, not of all; that makes
them the same in every process.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from vitruvius.contracts import SPECIALS, Codec, Fitted, Given, Tokenizer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.tokenizers.trained import (
    AT_ONCE,
    as_fitted,
    codec,
    learn,
    library,
    texts_of,
)

UNKNOWN = SPECIALS.index("<unk>")
LONGEST_PIECE = 16
ROUNDS = 3
SAMPLE = 2_000_000  # the trainer takes some 5 seconds for a million characters
WORDS = r"\n\s*|[^\S\n]?\S+|\s+"  # a space belongs to the word after; indentation is one word


@dataclass(frozen=True)
class Unigram(Tokenizer):
    """The segmentation with the largest product of the probabilities of its pieces.

    From all frequent substrings of words, those that cost the least likelihood are left out again
    and again. Loses nothing but what is <unk> (characters the training texts did not have), and
    that U+2581 becomes a space.
    """

    vocabulary: int = hyper(8192, one_of(1024, 4096, 8192, 16384, 32768), "tokens at most")
    sample: int = hyper(SAMPLE, doc="characters of the texts it learns from, at most")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        if self.vocabulary <= len(SPECIALS):
            raise ValueError(
                f"Unigram.vocabulary must be above {len(SPECIALS)}, the number of specials; "
                f"got {self.vocabulary}."
            )

    def fit(self, given: Given) -> Fitted:
        """``vocabulary`` in the values is below ``asked`` where the texts hold no more pieces."""
        texts = texts_of(self, given, self.sample)
        characters = len(set().union(*texts))
        if self.vocabulary < len(SPECIALS) + characters:
            raise ValueError(
                f"Unigram.vocabulary must be at least {len(SPECIALS) + characters} for these texts "
                f"(specials and each character); got {self.vocabulary}."
            )
        lib = library()
        tokenizer = lib.Tokenizer(lib.models.Unigram())
        tokenizer.pre_tokenizer = lib.pre_tokenizers.Sequence(
            [
                lib.pre_tokenizers.Split(lib.Regex(WORDS), "isolated"),
                lib.pre_tokenizers.Metaspace(prepend_scheme="never", split=False),
            ]
        )
        tokenizer.decoder = lib.decoders.Metaspace(prepend_scheme="never")

        def train():
            trainer = lib.trainers.UnigramTrainer(
                vocab_size=self.vocabulary,
                special_tokens=list(SPECIALS),
                unk_token="<unk>",
                max_piece_length=LONGEST_PIECE,
                show_progress=False,
            )
            tokenizer.train_from_iterator(texts, trainer)
            return tokenizer

        made = learn(self, self.vocabulary, train)
        pieces = sorted(piece for piece, _ in made["model"]["vocab"] if piece not in SPECIALS)
        words = Counter[str]()
        for text in texts:
            words.update(w for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
        made["model"]["vocab"] = _scored(lib, pieces, words)
        made["model"]["unk_id"] = UNKNOWN
        return as_fitted(made, self.vocabulary)

    def build(self, fitted: Fitted | None) -> Codec:
        return codec(self, fitted, lossless=False)


def _scored(lib: Any, pieces: list[str], words: Counter[str]) -> list[list[Any]]:
    """Pieces with log probabilities, by decreasing score, behind the specials.

    The trainer's own scores are sums in the order of a hash map, which differs in each process, so
    they are found anew: at first a piece is as probable as it is long, then as often as the best
    segmentations of the words use it. A special is written with a space before its name: words hold
    no space, so no text can spell one.
    """
    items = sorted(words)
    scores = {piece: -1.0 / len(piece) for piece in pieces}
    for _ in range(ROUNDS):
        vocabulary = _with_specials(scores)
        model = lib.Tokenizer(lib.models.Unigram(vocabulary, UNKNOWN, False))
        used = Counter[str]()
        for start in range(0, len(items), AT_ONCE):
            part = items[start : start + AT_ONCE]
            for word, found in zip(part, model.encode_batch_fast(part), strict=True):
                for i in found.ids:
                    used[vocabulary[i][0]] += words[word]
        total = sum(used[piece] + 0.5 for piece in pieces)
        scores = {piece: math.log((used[piece] + 0.5) / total) for piece in pieces}
    return [list(entry) for entry in _with_specials(scores)]


def _with_specials(scores: dict[str, float]) -> list[tuple[str, float]]:
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [(f" {name}", ranked[-1][1]) for name in SPECIALS] + ranked
