"""What BPE, WordPiece and Unigram share: training and use through the ``tokenizers`` library.

The trained tokenizer is kept as the library's JSON. Specials are part of its vocabulary, and not
of the words it looks for: a text that holds "<mask>" is encoded like any other text.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvius.contracts import SPECIALS, Array, Encoding, Fitted, Given, Tokenizer
from vitruvius.techniques.tokenizers.sampled import need_text, sampled

if TYPE_CHECKING:
    import tokenizers

AT_ONCE = 1024


def library() -> Any:
    """The ``tokenizers`` library."""
    try:
        return importlib.import_module("tokenizers")
    except ImportError as e:
        raise ValueError(
            "BPE, WordPiece and Unigram need the tokenizers library: "
            "pip install 'vitruvius[text]'. Bytes and Characters need none."
        ) from e


def texts_of(tokenizer: Tokenizer, given: Given, sample: int) -> list[str]:
    """What to learn from."""
    texts = [_plain(text) for text in sampled(given.documents, sample)]
    need_text(tokenizer, sum(map(len, texts)))
    return texts


def learn(
    tokenizer: Tokenizer, asked: int, train: Callable[[], tokenizers.Tokenizer]
) -> dict[str, Any]:
    """The library's JSON of what ``train`` gives, with its own errors in our words."""
    try:
        trained = train()
    except Exception as e:  # the library raises Exception itself
        if type(e) is not Exception:
            raise
        raise ValueError(
            f"{type(tokenizer).__name__} cannot make {asked} tokens of these texts ({e}). "
            "Choose another vocabulary, or give more text."
        ) from e
    made = json.loads(trained.to_str())
    made["added_tokens"] = []
    return made


def as_fitted(made: dict[str, Any], asked: int) -> Fitted:
    """What ``build`` reads. ``vocabulary`` is below ``asked`` where the texts hold no more."""
    found = len(made["model"]["vocab"])
    text = json.dumps(made, ensure_ascii=True, separators=(",", ":"))
    return Fitted(values={"tokenizer": text, "asked": asked, "vocabulary": found})


def codec(tokenizer: Tokenizer, fitted: Fitted | None, lossless: bool) -> TrainedCodec:
    """The codec of what ``as_fitted`` kept."""
    if fitted is None:
        raise ValueError(f"{type(tokenizer).__name__}.build needs what fit returned; got None.")
    return TrainedCodec(fitted.values["tokenizer"], lossless)


class TrainedCodec:
    """A tokenizer of the library, from its JSON."""

    def __init__(self, text: str, lossless: bool) -> None:
        self.text = text
        self.lossless = lossless
        self.tokenizer: tokenizers.Tokenizer = library().Tokenizer.from_str(text)

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainedCodec, (self.text, self.lossless)

    @property
    def digest(self) -> str:
        """All that decides what it encodes."""
        return self.text

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.get_vocab_size()

    def tokens(self) -> tuple[str, ...]:
        """The pieces as the library writes them: "\u0120the", "##ing", "\u2581of"."""
        named = {i: piece for piece, i in self.tokenizer.get_vocab().items()}
        rest = range(len(SPECIALS), self.vocabulary)
        return (*SPECIALS, *(named[i] for i in rest))

    def encode(self, text: str) -> Encoding:
        made = self.tokenizer.encode(_plain(text), add_special_tokens=False)
        return Encoding(
            tuple(made.ids),
            tuple(made.offsets),
            tuple(-1 if w is None else w for w in made.word_ids),
        )

    def encode_many(
        self, texts: Sequence[str], words: bool = False
    ) -> list[tuple[Array, Array | None]]:
        """Ids, and where words begin if asked for, of each text."""
        encode = self.tokenizer.encode_batch if words else self.tokenizer.encode_batch_fast
        found: list[tuple[Array, Array | None]] = []
        for start in range(0, len(texts), AT_ONCE):
            part = [_plain(text) for text in texts[start : start + AT_ONCE]]
            for made in encode(part, add_special_tokens=False):
                ids = np.array(made.ids, np.uint32)
                found.append((ids, _changes(made.word_ids) if words else None))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        first = len(SPECIALS)
        return self.tokenizer.decode([i for i in ids if i >= first], skip_special_tokens=False)

    def portable(self) -> str:
        """The library's JSON with the specials as such, as other programs expect them."""
        made = json.loads(self.text)
        vocabulary = made["model"]["vocab"]
        if isinstance(vocabulary, list):
            made["model"]["vocab"] = [
                [name, score]
                for name, (_, score) in zip(
                    (*SPECIALS, *(p for p, _ in vocabulary[len(SPECIALS) :])),
                    vocabulary,
                    strict=True,
                )
            ]
        made["added_tokens"] = [
            {
                "id": i,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, name in enumerate(SPECIALS)
        ]
        return json.dumps(made)


def _changes(words: Sequence[int | None]) -> Array:
    numbers = np.array([-1 if w is None else w for w in words], np.int64)
    starts = np.ones(len(numbers), np.uint8)
    starts[1:] = numbers[1:] != numbers[:-1]
    return starts


def _plain(text: str) -> str:
    """Without halves of surrogate pairs, which the library refuses; of the same length."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
    return text
