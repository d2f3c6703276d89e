"""What BPE, WordPiece and Unigram share: training and use through the ``tokenizers`` library.

The trained tokenizer is kept as the library's JSON. Specials are part of its vocabulary, and not
of the words it looks for: a text that holds "<mask>" is encoded like any other text.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvius.contracts import SPECIALS, Array, Encoding, Fitted, Given, Tokenizer
from vitruvius.techniques.tokenizers.sampled import need_text, sampled

if TYPE_CHECKING:
    import tokenizers

AT_ONCE = 1024
CHARACTERS_AT_ONCE = 2**19  # the library takes some hundred bytes of memory for each token
LINE = re.compile(r"(?<=\S)\n(?=\S)")


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
        ids: list[list[Array]] = [[] for _ in texts]
        starts: list[list[Array]] = [[] for _ in texts]
        for part in _portions(texts):
            made = encode([piece for _, piece in part], add_special_tokens=False)
            for (row, _), found in zip(part, made, strict=True):
                ids[row].append(np.array(found.ids, np.uint32))
                if words:
                    starts[row].append(_changes(found.word_ids))
        return [
            (np.concatenate(i), np.concatenate(s) if words else None)
            for i, s in zip(ids, starts, strict=True)
        ]

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


def _portions(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Texts with their positions, some at a time; long ones in pieces.

    They are cut after a line's end with no other white space beside it: every tokenizer of ours
    begins a word there anyway, so the tokens are those of the whole text.
    """
    part: list[tuple[int, str]] = []
    held = 0
    for row, whole in enumerate(texts):
        for piece in _pieces(_plain(whole)):
            part.append((row, piece))
            held += len(piece)
            if held >= CHARACTERS_AT_ONCE:
                yield part
                part, held = [], 0
    if part:
        yield part


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > CHARACTERS_AT_ONCE:
        found = LINE.search(text, start + CHARACTERS_AT_ONCE)
        if found is None:
            break
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


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
