"""Texts without the words that say least, so that more of each fits into the tokens that are read.

Source: Mutasodirin, Prasojo, Abka, Rasyidi 2022, "Simple Hack for Transformers against Heavy
Long-Text Classification on a Time- and Memory-Limited GPU Service", arXiv:2403.12563 (abstract and
first page; what follows is our specification of the idea). English stop words: scikit-learn's
ENGLISH_STOP_WORDS, of which Nothman, Qin & Yurchak 2018, "Stop Word Lists in Free Open-source
Software Packages", list the faults: it holds content words such as "system". Those of other
languages: the rule of scikit-learn's CountVectorizer for ``max_df``.
Differs from the paper: negations stay by default; a text is never left without a word; what stays
keeps its white space, so that a text of which nothing falls is the same to the character.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from vitruvius.contracts import Documents, Encoder, Fitted, Given
from vitruvius.space import hyper, one_of

TEXTS = ("text", "other", "query", "positive")
LANGUAGES = ("english", "any")
NEGATIONS = frozenset(
    (
        "cannot", "cant", "couldnt", "hasnt", "neither", "never", "no", "nobody", "none", "noone",
        "nor", "not", "nothing", "nowhere", "without",
    )
)  # fmt: skip
CHUNK = re.compile(r"(\s*)(\S+)")


@dataclass(frozen=True)
class Shortened(Encoder):
    """Each text without stop words, and, where asked for, without marks, rare and repeated words.

    What stays keeps its order; with nothing asked for texts are as they were. A word is a run of
    characters that are neither white space nor marks, apostrophes within it included, compared
    without regard to case; so a script without spaces between words has few to lose. Marks are the
    ASCII ones but "_", and Unicode's punctuation. Where a mark falls between two words a space
    stands for it. A text whose words are all stop words or rare keeps them.

    A tokenizer that takes words and marks one by one (WordPiece), or characters (Bytes), never
    gives more tokens than before; others nearly never. Pays where texts are longer than the tokens
    that are read and the answer is a topic; an encoder of sentences may miss what falls.
    """

    stopwords: bool = hyper(True, one_of(True, False), "stop words of the language fall")
    punctuation: bool = hyper(False, one_of(True, False), "marks fall")
    rare: int = hyper(
        1, one_of(1, 2, 3, 5), "training texts that a word must be in to stay; 1: all stay"
    )
    repeated: bool = hyper(
        False, one_of(True, False), "words that the text had before fall, whatever stood between"
    )
    language: Literal["english", "any"] = hyper(
        "english", doc='whose stop words: of "english" a list, of "any" the commonest words'
    )
    common: float = hyper(
        0.5, doc='share of the training texts that makes a word a stop word of "any" language'
    )
    negations: bool = hyper(True, doc='whether the negations in the list of "english" stay')
    keep: tuple[str, ...] = hyper((), doc="words that are no stop words, of any language")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(
                f"Shortened.language is {' or '.join(LANGUAGES)}; got {self.language!r}. "
                'For another language take "any", whose stop words are learned.'
            )
        if self.rare < 1:
            raise ValueError(
                f"Shortened.rare must be at least 1; got {self.rare}. With 1 no word is rare."
            )
        if not 0 < self.common <= 1:
            raise ValueError(
                f"Shortened.common must be above 0 and at most 1; got {self.common}. "
                "It is a share of the training texts."
            )

    def fit(self, given: Given) -> Fitted:
        """ "stopwords": those that fall; "known": words that are not rare, None where none is."""
        names = _columns(given.documents)
        learns = self.rare > 1 or (self.stopwords and self.language == "any")
        held: Counter[str] = Counter()
        texts = 0
        for name in names if learns else ():
            column = given.documents.payload[name]
            for row in range(len(column)):
                held.update(set(words_of(str(column[row]))))
            texts += len(column)
        stop: set[str] = set()
        if self.stopwords and self.language == "english":
            stop = _english() - (NEGATIONS if self.negations else set())
        elif self.stopwords:
            stop = {word for word, count in held.items() if count >= self.common * texts}
        known = None
        if self.rare > 1:
            known = sorted(word for word, count in held.items() if count >= self.rare)
        kept = {_key(word) for word in self.keep}
        return Fitted(values={"stopwords": sorted(stop - kept), "known": known})

    def apply(self, documents: Documents, given: Given) -> Documents:
        names = _columns(documents)
        if not (self.stopwords or self.punctuation or self.repeated or self.rare > 1):
            return documents
        values = given.fitted.values
        stop = frozenset(values["stopwords"])
        known = None if values["known"] is None else frozenset(values["known"])

        @functools.cache
        def falls(word: str) -> bool:
            bare = word.replace("'", "")
            return word in stop or bare in stop or (known is not None and word not in known)

        payload = {}
        for name, column in documents.payload.items():
            payload[name] = column
            if name in names:
                made = np.empty(len(column), object)
                for row in range(len(column)):
                    text = str(column[row])
                    made[row] = shorten(text, falls, self.punctuation, self.repeated)
                payload[name] = made
        return Documents(payload, documents.attributes)


def shorten(
    text: str, falls: Callable[[str], bool], punctuation: bool = False, repeated: bool = False
) -> str:
    """A text without the words of which ``falls`` is true, the marks, and what came before.

    Of a text without words nothing falls; of one whose words would all fall only what is repeated.
    """
    marks, pattern = _marks(), _piece()
    chunks = [(space, pattern.findall(body)) for space, body in CHUNK.findall(text)]
    words = {_key(piece) for _, pieces in chunks for piece in pieces} - marks
    fallen = {word for word in words if falls(word)}
    if fallen == words:
        fallen = set()
    if not words or not (fallen or punctuation or repeated):
        return text
    seen: set[str] = set()
    made: list[str] = []
    lost = False
    for space, pieces in chunks:
        left: list[str] = []
        headless = False
        for i, piece in enumerate(pieces):
            key = _key(piece)
            if key in marks:
                if punctuation:
                    continue
            elif key in fallen or (repeated and key in seen):
                headless = headless or i == 0
                continue
            else:
                seen.add(key)
            left.append(piece)
        if len(left) == len(pieces):
            made += [space, *pieces]
            continue
        lost = True
        if not left:
            continue
        alone = headless and marks.issuperset(left)  # "like it." gives "like."
        made.append("" if alone and made else space)
        for i, piece in enumerate(left):
            parted = i and piece not in marks and left[i - 1] not in marks
            made += [" ", piece] if parted else [piece]
    return "".join(made) if lost else text


def words_of(text: str) -> Iterator[str]:
    """Its words in order, as they are compared."""
    marks = _marks()
    return (key for key in map(_key, _piece().findall(text)) if key not in marks)


@functools.lru_cache(2**16)
def _key(word: str) -> str:
    return word.casefold().replace("\u2019", "'")


def _columns(documents: Documents) -> list[str]:
    names = [name for name in TEXTS if name in documents.payload]
    if not names:
        raise ValueError(
            f"Shortened needs whole texts ({', '.join(TEXTS)}); got {sorted(documents.payload)}. "
            "Of words with a tag each none may fall: leave the encoder out."
        )
    return names


def _english() -> set[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return set(ENGLISH_STOP_WORDS)


@functools.cache
def _marks() -> frozenset[str]:
    every = map(chr, range(0x20000))  # the planes above hold no marks
    found = {mark for mark in every if unicodedata.category(mark)[0] == "P"}
    return frozenset((found | set(string.punctuation)) - {"_"})


@functools.cache
def _piece() -> re.Pattern[str]:
    """A word, or a single mark."""
    mark = re.escape("".join(sorted(_marks())))
    return re.compile(rf"[^\s{mark}]+(?:['\u2019][^\s{mark}]+)*|[{mark}]")
