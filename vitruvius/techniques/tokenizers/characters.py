"""Characters as tokens.

Source: Al-Rfou et al. 2019, "Character-Level Language Modeling with Deeper Self-Attention",
arXiv:1808.04444, section 2.
Differs from the paper: Unicode characters in place of the bytes of enwik8 and text8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vitruvius.contracts import SPECIALS, Array, Codec, Encoding, Fitted, Given, Tokenizer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.tokenizers.sampled import SAMPLE, need_text, sampled
from vitruvius.techniques.tokenizers.words import begins, numbered

UNKNOWN = SPECIALS.index("<unk>")


@dataclass(frozen=True)
class Characters(Tokenizer):
    """The most frequent characters of the training texts, after the 7 specials.

    Loses nothing of texts that have no other characters; those others become <unk>.
    """

    vocabulary: int = hyper(1024, one_of(256, 1024, 4096), "tokens at most, specials among them")
    sample: int = hyper(SAMPLE, doc="characters of the texts it learns from, at most")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        if self.vocabulary <= len(SPECIALS):
            raise ValueError(
                f"Characters.vocabulary must be above {len(SPECIALS)}, the number of specials; "
                f"got {self.vocabulary}."
            )

    def fit(self, given: Given) -> Fitted:
        counts: Counter[str] = Counter()
        for text in sampled(given.documents, self.sample):
            counts.update(text)
        need_text(self, len(counts))
        ranked = sorted(counts, key=lambda c: (-counts[c], c))
        kept = ranked[: self.vocabulary - len(SPECIALS)]
        lost = sum(counts[c] for c in ranked[len(kept) :])
        return Fitted(
            values={
                "characters": [ord(c) for c in kept],
                "asked": self.vocabulary,
                "vocabulary": len(SPECIALS) + len(kept),
                "unknown": lost / counts.total(),
            }
        )

    def build(self, fitted: Fitted | None) -> Codec:
        if fitted is None:
            raise ValueError("Characters.build needs what fit returned; got None.")
        return CharactersCodec(fitted.values["characters"])


class CharactersCodec:
    """Token = rank of the character + 7."""

    def __init__(self, characters: Sequence[int]) -> None:
        self.characters = np.asarray(characters, np.uint32)
        """Code points, the most frequent first."""
        order = np.argsort(self.characters)
        self.known = self.characters[order]
        self.ids = (order + len(SPECIALS)).astype(np.uint32)
        self.lossless = False

    @property
    def digest(self) -> str:
        """All that decides what it encodes."""
        return f"characters {self.characters.tolist()}"

    @property
    def vocabulary(self) -> int:
        return len(SPECIALS) + len(self.characters)

    def tokens(self) -> tuple[str, ...]:
        return (*SPECIALS, *map(chr, self.characters.tolist()))

    def encode(self, text: str) -> Encoding:
        codes = _codes(text)
        places = tuple((i, i + 1) for i in range(len(codes)))
        return Encoding(tuple(self._lookup(codes).tolist()), places, numbered(begins(codes)))

    def encode_many(
        self, texts: Sequence[str], words: bool = False
    ) -> list[tuple[Array, Array | None]]:
        """Ids, and where words begin if asked for, of each text."""
        found: list[tuple[Array, Array | None]] = []
        for text in texts:
            codes = _codes(text)
            found.append((self._lookup(codes), begins(codes) if words else None))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Unknown characters come back as U+FFFD, other specials not at all."""
        names = self.characters
        shown = {UNKNOWN: "\N{REPLACEMENT CHARACTER}"}
        first = len(SPECIALS)
        return "".join(chr(names[i - first]) if i >= first else shown.get(i, "") for i in ids)

    def _lookup(self, codes: Array) -> Array:
        at = np.minimum(np.searchsorted(self.known, codes), len(self.known) - 1)
        return np.where(self.known[at] == codes, self.ids[at], UNKNOWN)


def _codes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
