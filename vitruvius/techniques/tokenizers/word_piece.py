"""WordPiece.

Source: Schuster & Nakajima 2012, "Japanese and Korean Voice Search", ICASSP, section 3; as in
Devlin et al. 2019, "BERT", arXiv:1810.04805, section 3.
Differs from the paper: pieces are joined by frequency, as the library does, and not by the gain in
likelihood.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from vitruvius.contracts import SPECIALS, Codec, Fitted, Given, Tokenizer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.tokenizers.sampled import SAMPLE
from vitruvius.techniques.tokenizers.trained import as_fitted, codec, learn, library, texts_of

LONGEST_WORD = 100
ALPHABET = 1000  # rarer characters become <unk>


@dataclass(frozen=True)
class WordPiece(Tokenizer):
    """Words as the longest pieces of the vocabulary, from the left; later pieces begin with ##.

    Does not keep white space, nor capitals where ``lowercase``. A word with a character that the
    training texts did not have is <unk>.
    """

    vocabulary: int = hyper(8192, one_of(1024, 4096, 8192, 16384, 32768), "tokens at most")
    lowercase: bool = hyper(True, one_of(True, False), "no capitals and no accents")
    frequency: int = hyper(2, doc="pairs rarer than this are never joined")
    sample: int = hyper(SAMPLE, doc="characters of the texts it learns from, at most")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        if self.vocabulary <= len(SPECIALS):
            raise ValueError(
                f"WordPiece.vocabulary must be above {len(SPECIALS)}, the number of specials; "
                f"got {self.vocabulary}."
            )

    def fit(self, given: Given) -> Fitted:
        """``vocabulary`` in the values is below ``asked`` where the texts hold no more pairs."""
        texts = texts_of(self, given, self.sample)
        lib = library()
        tokenizer = lib.Tokenizer(
            lib.models.WordPiece(unk_token="<unk>", max_input_chars_per_word=LONGEST_WORD)
        )
        tokenizer.normalizer = lib.normalizers.BertNormalizer(lowercase=self.lowercase)
        tokenizer.pre_tokenizer = lib.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = lib.decoders.WordPiece(prefix="##", cleanup=False)
        alphabet = _alphabet(tokenizer, texts)
        least = len(SPECIALS) + len(alphabet)
        if self.vocabulary < least:
            raise ValueError(
                f"WordPiece.vocabulary must be at least {least} for these texts (specials and "
                f"characters, alone and within words); got {self.vocabulary}."
            )

        def train():
            trainer = lib.trainers.WordPieceTrainer(
                vocab_size=self.vocabulary,
                min_frequency=self.frequency,
                limit_alphabet=ALPHABET,
                special_tokens=[*SPECIALS, *alphabet],
                show_progress=False,
            )
            tokenizer.train_from_iterator(texts, trainer)
            return tokenizer

        return as_fitted(learn(self, self.vocabulary, train), self.vocabulary)

    def build(self, fitted: Fitted | None) -> Codec:
        return codec(self, fitted, lossless=False)


def _alphabet(tokenizer: Any, texts: list[str]) -> list[str]:
    """Characters, and those that go on within a word as ##c: given to the trainer in a fixed order.

    Left to itself it numbers the latter in the order of a hash map, which differs in each process,
    and ties between pairs are then broken differently.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.normalizer.normalize_str(text))
    ranked = sorted(
        (c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c)
    )[:ALPHABET]  # fmt: skip
    inner = [c for c in ranked if len(tokenizer.pre_tokenizer.pre_tokenize_str(f"a{c}")) == 1]
    return [*sorted(ranked), *(f"##{c}" for c in sorted(inner))]
