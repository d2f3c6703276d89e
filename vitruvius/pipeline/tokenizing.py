"""The stage that makes tokens of a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vitruvius.contracts import (
    Codec,
    Documents,
    Given,
    Lab,
    Lineage,
    Measurement,
    Model,
    Pretrained,
    Stage,
    State,
    Tokenizer,
)
from vitruvius.data.tokens import Tokens, codec_digest, tokenise
from vitruvius.space import Infeasible, hyper, one_of
from vitruvius.techniques.tokenizers import BPE, Bytes, Unigram, WordPiece

TEXTS, HELD = "texts", "held"
TOKENS, HELD_TOKENS = "tokens", "held_tokens"


@dataclass(frozen=True)
class Tokenize(Stage):
    """Learn a tokenizer from the corpus, and make tokens of it.

    A pretrained model in its place gives its own tokenizer. The model that it hands on has a
    tokenizer and no body yet; the tokens lie in ``data["tokens"]`` and ``data["held_tokens"]``.
    """

    tokenizer: Tokenizer | Pretrained = hyper(
        WordPiece(),
        one_of(WordPiece.space(), BPE.space(), Unigram.space(), Bytes()),
        "tokenizer to train, or a pretrained model that has one",
    )
    words: bool = hyper(True, doc="whether to keep where words begin, for masks of whole words")

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Raises Infeasible where the corpus cannot give such a tokenizer."""
        before = inputs["before"]
        texts = before.data.get(TEXTS)
        if texts is None:
            raise ValueError("Tokenize needs a corpus: put LoadTexts before it.")
        codec = self._codec(texts, lab)
        data = {**before.data, **tokens_of(before.data, codec, lab.folder, self.words)}
        model = Model({}, {}, Lineage(""), tokenizer=codec)
        length = int(as_tokens(data[TOKENS]).lengths.sum())
        told = (
            Measurement("vocabulary", float(codec.vocabulary)),
            Measurement("tokens of the corpus", float(length), items=len(texts)),
        )
        return replace(
            before,
            model=model,
            data=data,
            measurements=(*before.measurements, *told),
            digest="",
        )

    def _codec(self, texts: Documents, lab: Lab) -> Codec:
        if isinstance(self.tokenizer, Pretrained):
            codec = self.tokenizer.load().tokenizer
            assert codec is not None
            return codec
        given = Given(rng=lab.generator("tokenizer"), documents=texts)
        try:
            return self.tokenizer.build(self.tokenizer.fit(given))
        except ValueError as error:
            raise Infeasible("tokenizer", str(error)) from error


def tokens_of(
    data: Mapping[str, Documents], codec: Codec, folder: Path | None, words: bool = True
) -> dict[str, Documents]:
    """Tokens of the corpus and of what is held out of it, in files below ``folder`` if given."""
    found = {}
    for name, source in ((TOKENS, TEXTS), (HELD_TOKENS, HELD)):
        place = None if folder is None else folder / name
        tokens = tokenise(data[source], codec, place, words=words)
        told = f"{name} {data[source].digest} {codec_digest(codec)} {words}".encode()
        found[name] = Documents({"tokens": tokens}, digest=hashlib.sha256(told).hexdigest())
    return found


def as_tokens(documents: Documents) -> Tokens:
    """The column of tokens that ``Tokenize`` left."""
    column = documents.payload["tokens"]
    assert isinstance(column, Tokens)
    return column
