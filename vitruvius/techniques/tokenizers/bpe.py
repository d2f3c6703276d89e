"""Byte-level byte pair encoding.

Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
arXiv:1508.07909, section 3.2; over bytes: Radford et al. 2019, "Language Models are Unsupervised
Multitask Learners", section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitruvius.contracts import SPECIALS, Codec, Fitted, Given, Tokenizer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.tokenizers.sampled import SAMPLE
from vitruvius.techniques.tokenizers.trained import as_fitted, codec, learn, library, texts_of

LEAST = len(SPECIALS) + 256


@dataclass(frozen=True)
class BPE(Tokenizer):
    """From bytes, join the most frequent pair of neighbours within words, again and again.

    Loses nothing of any text. Words are cut as GPT-2 cuts them: a space belongs to the word after.
    """

    vocabulary: int = hyper(8192, one_of(1024, 4096, 8192, 16384, 32768), "tokens at most")
    frequency: int = hyper(2, doc="pairs rarer than this are never joined")
    sample: int = hyper(SAMPLE, doc="characters of the texts it learns from, at most")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        if self.vocabulary < LEAST:
            raise ValueError(
                f"BPE.vocabulary must be at least {LEAST} (specials and bytes); "
                f"got {self.vocabulary}. For bytes alone, use Bytes()."
            )

    def fit(self, given: Given) -> Fitted:
        """``vocabulary`` in the values is below ``asked`` where the texts hold no more pairs."""
        texts = texts_of(self, given, self.sample)
        lib = library()

        def train():
            tokenizer = lib.Tokenizer(lib.models.BPE())
            tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = lib.decoders.ByteLevel()
            trainer = lib.trainers.BpeTrainer(
                vocab_size=self.vocabulary,
                min_frequency=self.frequency,
                special_tokens=list(SPECIALS),
                initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
                show_progress=False,
            )
            tokenizer.train_from_iterator(texts, trainer)
            return tokenizer

        return as_fitted(learn(self, self.vocabulary, train), self.vocabulary)

    def build(self, fitted: Fitted | None) -> Codec:
        return codec(self, fitted, lossless=True)
